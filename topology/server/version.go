package server

import (
	"fmt"
	"strconv"
	"strings"
)

// OldestMajor and NewestMajor bound the versions of PostgreSQL that are known to work.
const (
	OldestMajor = 15
	NewestMajor = 18
)

// ParseVersion reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" or pg_config's
// "PostgreSQL 15.18": "15.18" and 150018. Betas ("19beta1") count as release 0.
func ParseVersion(s string) (version string, number int, err error) {
	for _, w := range strings.Fields(s) {
		if w[0] < '0' || w[0] > '9' {
			continue
		}
		digits := strings.TrimLeft(w, "0123456789")
		major, err := strconv.Atoi(w[:len(w)-len(digits)])
		if err != nil || major > 9999 {
			break
		}
		minor := 0
		if rest, ok := strings.CutPrefix(digits, "."); ok {
			if minor, err = strconv.Atoi(rest); err != nil || minor < 0 || minor > 9999 {
				break
			}
		}
		return w, major*10000 + minor, nil
	}
	return "", 0, fmt.Errorf("no version in %q", strings.TrimSpace(s))
}
