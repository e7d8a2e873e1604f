package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// notConverging judges that the survivors agreed within the limit after all was healed.
func notConverging(in *input, c *collector) {
	if !in.round.Complete || in.round.Quiesced || in.round.Interrupted {
		return
	}
	c.add(NotConverging, "", "quiesce", 1, func() example {
		text := fmt.Sprintf("the survivors did not agree within %v after all was healed", in.round.QuiesceLimit)
		if in.round.QuiesceNote != "" {
			text += ": " + in.round.QuiesceNote
		}
		p, _ := in.phase(rundir.PhaseQuiesce)
		return example{key: "quiesce", summary: text, from: p.Start, to: p.End}
	})
}
