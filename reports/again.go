package reports

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// notRepeated are settings that say how a run was shown and kept, not what it did.
var notRepeated = map[string]bool{"seed": true, "report-dir": true, "keep": true, "log-format": true, "quiet": true, "verbose": true}

// again is the commands that run a run once more.
func again(dir string, run rundir.Run) Again {
	words := []string{"spockchaos", "run", "--seed", fmt.Sprint(run.Seed)}
	for _, name := range slices.Sorted(maps.Keys(run.Config)) {
		if notRepeated[name] {
			continue
		}
		if v := flagText(run.Config[name]); v != "" {
			words = append(words, "--"+name, v)
		}
	}
	return Again{
		Run:    commandLine(words),
		Replay: commandLine([]string{"spockchaos", "replay", dir}),
		Check:  commandLine([]string{"spockchaos", "check", dir}),
	}
}

func flagText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return fmt.Sprintf("%.10g", v)
	case []string:
		return strings.Join(v, ",")
	case []any:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = fmt.Sprint(w)
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(v)
}

// commandLine quotes words for a POSIX shell.
func commandLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if w == "" || strings.ContainsFunc(w, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./,:=@%+", r)
		}) {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}
