// Package format prints figures for people: the same in a report and on a terminal.
package format

import (
	"fmt"
	"time"
)

// Clock prints a duration as minutes and seconds: 4:07, 1:02:45.
func Clock(d time.Duration) string {
	s := int64(max(0, d) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// Count prints a number with commas between thousands.
func Count(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Bytes prints a size with two or three digits: 812 B, 4.2 kB, 168 MB.
func Bytes(n int64) string {
	sign, v := "", float64(n)
	if v < 0 {
		sign, v = "-", -v
	}
	if v < 1000 {
		return fmt.Sprintf("%s%.0f B", sign, v)
	}
	units := []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	for i, unit := range units {
		v /= 1000
		switch {
		case v < 9.95:
			return fmt.Sprintf("%s%.1f %s", sign, v, unit)
		case v < 999.5 || i == len(units)-1:
			return fmt.Sprintf("%s%.0f %s", sign, v, unit)
		}
	}
	return ""
}

// Plural prints a number of things: 1 round, 3 rounds.
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return Count(int64(n)) + " " + what + "s"
}
