package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// notConverging judges that the survivors agreed within the limit after all was healed; w knows what was late.
func notConverging(in *input, c *collector, w *walker) {
	if !in.round.Complete || in.round.Quiesced || in.round.Interrupted {
		return
	}
	c.add(NotConverging, "", "quiesce", 1, func() example {
		text := fmt.Sprintf("the survivors did not agree within %v after all was healed", in.round.QuiesceLimit)
		if in.round.QuiesceNote != "" {
			text += ": " + in.round.QuiesceNote
		}
		e := example{key: "quiesce", details: map[string]any{}}
		if late, which := w.onTheirWay(); late != "" {
			text += "; " + late
			e.details["on_their_way"] = which
		}
		p, _ := in.phase(rundir.PhaseQuiesce)
		e.summary, e.from, e.to = text, p.Start, p.End
		return e
	})
}
