package chaos

import (
	"context"
	"fmt"
	"strings"

	"github.com/spockchaos/spockchaos/topology"
)

// Strategy is a way to bring a survivor level with another one after the loss of a node. Every strategy is judged by the same rules.
type Strategy interface {
	// Rescue makes one attempt. It is made again after a failure, and once more when all is over: then it must change nothing. notice is
	// given each line that is said meanwhile.
	Rescue(ctx context.Context, cluster topology.Cluster, r Recovery, notice func(string)) error
}

// Recovery names the parts in a rescue. What runs on a database runs on the coordinator, which can be any survivor.
type Recovery struct{ Failed, Source, Target, Coordinator string }

// Names of strategies, as --rescue has them.
const (
	StrategySQL    = "sql"
	StrategyNative = "native"
	strategyExec   = "exec:"
)

// ParseStrategy is the strategy of a name: "sql", "native", or "exec:COMMAND".
func ParseStrategy(name string) (Strategy, error) {
	command, isExec := strings.CutPrefix(name, strategyExec)
	switch {
	case name == StrategySQL || name == "":
		return sqlStrategy{}, nil
	case name == StrategyNative:
		return nativeStrategy{}, nil
	case isExec && strings.TrimSpace(command) != "":
		return execStrategy{command}, nil
	case isExec:
		return nil, fmt.Errorf("rescue %q names no command", name)
	}
	return nil, fmt.Errorf("rescue %q is not known: %s, %s and %sCOMMAND are", name, StrategySQL, StrategyNative, strategyExec)
}

// sqlStrategy is CALL spock.recovery, the procedure in sql/.
type sqlStrategy struct{}

func (sqlStrategy) Rescue(ctx context.Context, cluster topology.Cluster, r Recovery, notice func(string)) error {
	return CallRecovery(ctx, cluster, r, notice)
}
