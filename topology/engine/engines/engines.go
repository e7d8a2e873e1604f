// Package engines is the list of engines there are.
//
// It imports every adapter below topology/engine; chaos, topology/compose, cmd and test helpers import it.
package engines

import (
	"fmt"
	"strings"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/engine/spock"
)

// Auto in place of an engine's name is the first of All that an installation has.
const Auto = "auto"

// Listed is an engine with a line about it.
type Listed struct {
	engine.Engine
	Summary string
}

// All are the engines, the preferred first.
func All() []Listed {
	return []Listed{
		{spock.New(), "pgEdge Spock 5, full mesh, last update wins"},
		{pglogical.New(), "pglogical 2, full mesh, last update wins"},
	}
}

// ByName is the engine of a name.
func ByName(name string) (engine.Engine, error) {
	var names []string
	for _, e := range All() {
		if e.Name() == name {
			return e.Engine, nil
		}
		names = append(names, e.Name())
	}
	return nil, fmt.Errorf("engine %q is not known: %s are", name, strings.Join(names, " and "))
}

// Candidates are the engines that a name stands for: one, or with Auto all of them.
func Candidates(name string) ([]engine.Engine, error) {
	if name != Auto {
		e, err := ByName(name)
		return []engine.Engine{e}, err
	}
	var all []engine.Engine
	for _, e := range All() {
		all = append(all, e.Engine)
	}
	return all, nil
}
