package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

func contains(list []string, s string) bool { return slices.Contains(list, s) }

func join(list []string) string { return strings.Join(list, ", ") }

// kind is what a file may give for a value.
type kind int

const (
	kindText kind = iota // a string or a number
	kindNumber
	kindBool
	kindList // a sequence of strings, or one string
)

func (k kind) String() string {
	return [...]string{"text", "a number", "true or false", "a list of names"}[k]
}

// value is what every setting here is: a pflag.Value that says what a file may give for it.
type value interface {
	pflag.Value
	kind() kind
	// plain is the value as a configuration file shows it.
	plain() any
}

type durationValue struct {
	p        *time.Duration
	min, max time.Duration
	seconds  bool // a plain number is accepted as seconds
}

func newDuration(p *time.Duration, def, least, most time.Duration, seconds bool) *durationValue {
	*p = def
	return &durationValue{p, least, most, seconds}
}

func (v *durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.ParseFloat(s, 64); nerr == nil && err != nil {
		if !v.seconds {
			return fmt.Errorf("needs a unit, for example %ss or %sm", s, s)
		}
		if math.IsNaN(n) || math.Abs(n) > 1e9 {
			return errors.New("is out of range")
		}
		d, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil {
		return errors.New("is not a duration such as 90s, 30m or 1h30m")
	}
	switch {
	case d <= 0:
		return errors.New("must be more than 0")
	case d < v.min:
		return fmt.Errorf("must be at least %s", v.min)
	case d > v.max:
		return fmt.Errorf("must be at most %s", short(v.max))
	}
	*v.p = d
	return nil
}

// short prints a duration without its empty tail: 30m, not 30m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (v *durationValue) String() string { return short(*v.p) }
func (v *durationValue) Type() string   { return "duration" }
func (v *durationValue) kind() kind     { return kindText }
func (v *durationValue) plain() any     { return v.String() }

type seedValue struct{ p *Seed }

func newSeed(p *Seed) *seedValue { return &seedValue{p} }

func (v *seedValue) Set(s string) error {
	if s == "random" {
		*v.p = Seed{}
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return errors.New("must be a whole number from 0 to 18446744073709551615, or random")
	}
	*v.p = Seed{Value: n, Given: true}
	return nil
}

func (v *seedValue) String() string {
	if !v.p.Given {
		return "random"
	}
	return strconv.FormatUint(v.p.Value, 10)
}
func (v *seedValue) Type() string { return "number" }
func (v *seedValue) kind() kind   { return kindText }
func (v *seedValue) plain() any {
	if !v.p.Given {
		return "random"
	}
	return v.p.Value
}

type intValue struct {
	p        *int
	min, max int
}

func newInt(p *int, def, least, most int) *intValue {
	*p = def
	return &intValue{p, least, most}
}

func (v *intValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < v.min || n > v.max {
		return fmt.Errorf("must be a whole number from %d to %d", v.min, v.max)
	}
	*v.p = n
	return nil
}
func (v *intValue) String() string { return strconv.Itoa(*v.p) }
func (v *intValue) Type() string   { return "number" }
func (v *intValue) kind() kind     { return kindNumber }
func (v *intValue) plain() any     { return *v.p }

type floatValue struct {
	p        *float64
	min, max float64
}

func newFloat(p *float64, def, least, most float64) *floatValue {
	*p = def
	return &floatValue{p, least, most}
}

func (v *floatValue) Set(s string) error {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(n) || n < v.min || n > v.max {
		return fmt.Errorf("must be a number from %g to %g", v.min, v.max)
	}
	*v.p = n + 0 // -0 becomes 0
	return nil
}
func (v *floatValue) String() string { return strconv.FormatFloat(*v.p, 'g', -1, 64) }
func (v *floatValue) Type() string   { return "number" }
func (v *floatValue) kind() kind     { return kindNumber }
func (v *floatValue) plain() any     { return *v.p }

// sizeValue is a number of bytes with a unit; "" is none.
type sizeValue struct {
	p        *int64
	min, max int64
}

func newSize(p *int64, least, most int64) *sizeValue { return &sizeValue{p, least, most} }

// units are PostgreSQL's: each is 1024 of the one before.
var units = [...]struct {
	name  string
	bytes int64
}{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}}

func (v *sizeValue) Set(s string) error {
	if s == "" {
		*v.p = 0
		return nil
	}
	number := strings.TrimRight(s, "kKmMgGtTiIbB")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return errors.New("is not a size such as 512MB or 2GB")
	}
	unit := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s[len(number):]), "B"), "I"))
	for _, u := range units {
		if unit != strings.ToUpper(u.name[:1]) {
			continue
		}
		if n < 0 || n > v.max/u.bytes || n*u.bytes < v.min {
			return fmt.Errorf("must be from %s to %s", sizeText(v.min), sizeText(v.max))
		}
		*v.p = n * u.bytes
		return nil
	}
	return fmt.Errorf("needs a unit, for example %sMB or %sGB", number, number)
}

// sizeText is a size in its largest whole unit.
func sizeText(n int64) string {
	for _, u := range units {
		if n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}

func (v *sizeValue) String() string {
	if *v.p == 0 {
		return ""
	}
	return sizeText(*v.p)
}
func (v *sizeValue) Type() string { return "size" }
func (v *sizeValue) kind() kind   { return kindText }
func (v *sizeValue) plain() any   { return v.String() }

type enumValue struct {
	p    *string
	list []string // the first may be "": none
}

func newEnum(p *string, def string, list []string) *enumValue {
	*p = def
	return &enumValue{p, list}
}

func (v *enumValue) Set(s string) error {
	if !contains(v.list, s) {
		words := slices.DeleteFunc(slices.Clone(v.list), func(s string) bool { return s == "" })
		if len(words) == 1 {
			return fmt.Errorf("is not known; there is only %s", words[0])
		}
		return fmt.Errorf("is not known; there are %s", join(words))
	}
	*v.p = s
	return nil
}
func (v *enumValue) String() string { return *v.p }
func (v *enumValue) Type() string   { return "name" }
func (v *enumValue) kind() kind     { return kindText }
func (v *enumValue) plain() any     { return *v.p }

type textValue struct {
	p   *string
	typ string
}

func newText(p *string, typ string) *textValue { return &textValue{p, typ} }

func (v *textValue) Set(s string) error {
	if strings.ContainsRune(s, 0) {
		return errors.New("contains a NUL byte")
	}
	*v.p = s
	return nil
}
func (v *textValue) String() string { return *v.p }
func (v *textValue) Type() string   { return v.typ }
func (v *textValue) kind() kind     { return kindText }
func (v *textValue) plain() any     { return *v.p }

// rescueValue is the name of a strategy.
type rescueValue struct{ p *string }

func newRescue(p *string) *rescueValue {
	*p = "sql"
	return &rescueValue{p}
}

func (v *rescueValue) Set(s string) error {
	command, isExec := strings.CutPrefix(s, "exec:")
	if s != "sql" && s != "native" && (!isExec || strings.TrimSpace(command) == "" || strings.ContainsRune(s, 0)) {
		return errors.New("must be sql, native, or exec: and a command")
	}
	*v.p = s
	return nil
}
func (v *rescueValue) String() string { return *v.p }
func (v *rescueValue) Type() string   { return "strategy" }
func (v *rescueValue) kind() kind     { return kindText }
func (v *rescueValue) plain() any     { return *v.p }

type boolValue struct{ p *bool }

func newBool(p *bool) *boolValue { return &boolValue{p} }

func (v *boolValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("must be true or false")
	}
	*v.p = b
	return nil
}
func (v *boolValue) String() string   { return strconv.FormatBool(*v.p) }
func (v *boolValue) Type() string     { return "bool" }
func (v *boolValue) IsBoolFlag() bool { return true }
func (v *boolValue) kind() kind       { return kindBool }
func (v *boolValue) plain() any       { return *v.p }

// nameValue is a list out of known names, kept in the order of the known ones.
type nameValue struct {
	p     *[]string
	what  string
	known []string
	minus bool // "-name" leaves one out
	optIn []string
	given string // the text that was set, "" for none
}

func newNames(p *[]string, what string, known []string, minus bool, optIn ...string) *nameValue {
	v := &nameValue{p: p, what: what, known: known, minus: minus, optIn: optIn}
	*p = v.usual()
	return v
}

// usual are the names that "all" stands for.
func (v *nameValue) usual() []string {
	return slices.DeleteFunc(slices.Clone(v.known), func(k string) bool { return contains(v.optIn, k) })
}

func (v *nameValue) Set(s string) error {
	list, err := ResolveNames(s, v.what, v.known, v.minus, v.optIn...)
	if err != nil {
		return err
	}
	*v.p, v.given = list, s
	return nil
}

// settle resolves what was given once more, with other names that "all" does not mean.
func (v *nameValue) settle(optIn []string) error {
	v.optIn = optIn
	if v.given == "" {
		*v.p = v.usual()
		return nil
	}
	return v.Set(v.given)
}

// names says whether a name was given as such.
func (v *nameValue) names(name string) bool {
	for word := range strings.SplitSeq(v.given, ",") {
		if strings.TrimSpace(word) == name {
			return true
		}
	}
	return false
}

// String is "all" or the names with commas: it is also what help shows as the default.
func (v *nameValue) String() string {
	if slices.Equal(*v.p, v.usual()) {
		return "all"
	}
	return strings.Join(*v.p, ",")
}
func (v *nameValue) Type() string { return "names" }
func (v *nameValue) kind() kind   { return kindList }
func (v *nameValue) plain() any   { return slices.Clone(*v.p) }

// ResolveNames reads a list of names with commas into names out of known, in
// known's order. "all" is every name but those in optIn. With minus allowed, "-name" leaves one out
// of those named, or of all when nothing is named.
func ResolveNames(s, what string, known []string, minus bool, optIn ...string) ([]string, error) {
	in, out := map[string]bool{}, map[string]bool{}
	named := false
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		name, leave := word, false
		if minus {
			name, leave = strings.CutPrefix(word, "-")
		}
		switch {
		case word == "":
			return nil, fmt.Errorf("has an empty name in the list of %ss", what)
		case name == "all" && !leave:
			named = true
			for _, k := range known {
				in[k] = in[k] || !contains(optIn, k)
			}
		case !contains(known, name):
			return nil, fmt.Errorf("names no %s %q%s; `spockchaos %ss` lists them", what, name, nearest(name, known), what)
		case leave:
			out[name] = true
		default:
			named, in[name] = true, true
		}
	}
	var list []string
	for _, k := range known {
		if (in[k] || !named && !contains(optIn, k)) && !out[k] {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("leaves no %s", what)
	}
	return list, nil
}

// nearest suggests the known name that a typing error is closest to, as " (name?)", or "".
func nearest(name string, known []string) string {
	best, dist := "", 3
	for _, k := range known {
		if d := editDistance(name, k); d < dist && d < len(k) {
			best, dist = k, d
		}
	}
	if best == "" {
		return ""
	}
	return " (" + best + "?)"
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
