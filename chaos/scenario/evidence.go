package scenario

import "fmt"

// evidence is what a step gathers while it runs.
type evidence struct {
	facts    []Fact
	problems []string
	details  []string
}

// fact adds a piece of evidence.
func (e *evidence) fact(name string, value any, format string, args ...any) {
	e.facts = append(e.facts, Fact{Name: name, Value: value, Text: fmt.Sprintf(format, args...)})
}

// some adds a number that must not be zero: a step that counted nothing has shown nothing.
func (e *evidence) some(name string, n int64, format string, args ...any) {
	e.fact(name, n, format, args...)
	if n <= 0 {
		e.problem("%s is %d: the step has shown nothing", name, n)
	}
}

// problem says why the step failed. A step goes on after one where more can be learnt.
func (e *evidence) problem(format string, args ...any) {
	e.problems = append(e.problems, fmt.Sprintf(format, args...))
}

// detail is shown on request.
func (e *evidence) detail(format string, args ...any) {
	e.details = append(e.details, fmt.Sprintf(format, args...))
}
