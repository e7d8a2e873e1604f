package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// stallLink holds all bytes of one link, in one direction or both: the connections stand and nothing comes.
type stallLink struct{ meta }

func newStall() Fault {
	return stallLink{meta{
		name:     "stall",
		describe: "one link holds all bytes of one direction (or both): connections stand, nothing arrives, nothing is lost",
		class:    OnLink,
		span:     Span{1500 * time.Millisecond, 6 * time.Second},
	}}
}

func (stallLink) Draw(r *rand.Rand, w World) (string, Params) {
	return drawLink(r, w), Params{paramDirection: oneOf(r, directionUp, directionDown, directionBoth)}
}

func (stallLink) Touches(w World, target string, p Params) (Reach, error) {
	if err := checkLink(w, target); err != nil {
		return Reach{}, err
	}
	_, err := directions(p)
	return Reach{Links: []string{target}}, err
}

func (stallLink) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	dirs, err := directions(f.Parameters)
	if err != nil {
		return nil, err
	}
	var ends []end
	for _, d := range dirs {
		ends = append(ends, end{f.Target, d})
	}
	return stall(ctx, env, f, ends)
}
