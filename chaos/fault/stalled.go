package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/wait"
)

const (
	// baselineLimit bounds the probe before a stall is put on, beside the length of the line: a link that is
	// healthy answers in milliseconds, and one that is not costs the fault this much delay.
	baselineLimit = 300 * time.Millisecond
	// silence is how long a probe through a stalled link must stay unanswered.
	silence = 400 * time.Millisecond
	// reopenLimit is how long a link whose server is up may take to answer after healing.
	reopenLimit = 10 * time.Second
)

// stalled is an active fault that holds all bytes in some directions of some links:
// what partition, partition_one_way, isolate and stall have in common.
type stalled struct {
	env    Env
	share  *share
	ends   []end
	links  []string                 // of ends, each once
	before map[string]time.Duration // links that answered a probe before, and in what time
}

// stall puts a stall on the ends, after a probe of each link.
func stall(ctx context.Context, env Env, f rundir.PlannedFault, ends []end) (Active, error) {
	s := &stalled{env: env, ends: ends, before: map[string]time.Duration{}}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, e := range ends {
		if len(s.links) > 0 && s.links[len(s.links)-1] == e.link {
			continue
		}
		s.links = append(s.links, e.link)
		l, err := env.Links.Get(e.link)
		if err != nil {
			wg.Wait()
			return nil, err
		}
		stats, err := l.Stats(ctx)
		if err != nil {
			wg.Wait()
			return nil, err
		}
		wg.Go(func() {
			if took, err := probe(ctx, l.Addr(), 2*stats.Delay+baselineLimit); err == nil {
				mu.Lock()
				s.before[e.link] = took
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	var err error
	s.share, err = env.Links.hold(ctx, f.ID, link.Gate{Stall: true}, ends...)
	if s.share == nil {
		return nil, err
	}
	return s, err
}

// Prove shows that no byte passes any stalled direction while, on at least one link, bytes are held
// or a probe goes unanswered that was answered before.
func (s *stalled) Prove(ctx context.Context) (bool, string, error) {
	last := ""
	for {
		effect, proof, err := s.look(ctx)
		switch {
		case err != nil && ctx.Err() != nil && last != "":
			return false, last, nil // there was no time for another look
		case effect || err != nil || ctx.Err() != nil:
			return effect, proof, err
		}
		// What was on its way when the gate closed may still have passed: look again.
		last = proof
		if wait.For(ctx, pollEvery) != nil {
			return false, last, nil
		}
	}
}

func (s *stalled) look(ctx context.Context) (bool, string, error) {
	quiet := make([]bool, len(s.links))
	shown := make([]bool, len(s.links))
	texts := make([]string, len(s.links))
	errs := make([]error, len(s.links))
	var wg sync.WaitGroup
	for i, name := range s.links {
		l, err := s.env.Links.Get(name)
		if err != nil {
			wg.Wait()
			return false, "", err
		}
		wg.Go(func() { quiet[i], shown[i], texts[i], errs[i] = s.lookAt(ctx, l) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return false, "", err
	}
	all, any := true, false
	for i := range s.links {
		all = all && quiet[i]
		any = any || shown[i]
	}
	return all && any, strings.Join(texts, "; "), nil
}

// lookAt watches one link for a moment: quiet if no byte passed where it is stalled,
// shown if something wanted to pass.
func (s *stalled) lookAt(ctx context.Context, l topology.Link) (quiet, shown bool, text string, err error) {
	before, err := l.Stats(ctx)
	if err != nil {
		return false, false, "", err
	}
	began := time.Now()
	window := 2*before.Delay + silence
	_, probeErr := probe(ctx, l.Addr(), window)
	if probeErr != nil && !errors.Is(probeErr, errSilent) {
		// The server is down: the window is as long as another link's all the same.
		_ = wait.For(ctx, window-time.Since(began)) // Prove looks at ctx
	}
	after, err := l.Stats(context.WithoutCancel(ctx)) // the probe may have taken all the time there was
	if err != nil {
		return false, false, "", err
	}
	var moved, kept int64
	var names []string
	for _, e := range s.ends {
		if e.link == l.Name() {
			moved += passed(after, e.dir) - passed(before, e.dir)
			kept += held(after, e.dir)
			names = append(names, dirName(e.dir))
		}
	}
	text = fmt.Sprintf("%s %s: %d bytes passed in %s, %d held", l.Name(), strings.Join(names, "+"), moved, short(time.Since(began)), kept)
	was, answered := s.before[l.Name()]
	silent := answered && errors.Is(probeErr, errSilent)
	switch {
	case silent:
		text += fmt.Sprintf(", a new connection gets no answer (%s before)", short(was))
	case probeErr == nil:
		text += ", a new connection was answered"
	case !answered:
		text += ", a new connection was not answered before either"
	}
	return moved == 0 && probeErr != nil, kept > 0 || silent, text, nil
}

// Heal opens the directions again, unless another fault holds them, and waits until
// each link answers whose server is in service.
func (s *stalled) Heal(ctx context.Context) (string, error) {
	return released(ctx, s.env, s.share, s.links...)
}

// released takes a fault's share off its links and waits until they answer again.
func released(ctx context.Context, env Env, s *share, links ...string) (string, error) {
	if err := s.release(ctx); err != nil {
		return "", err
	}
	return reopened(ctx, env, s.fault, links)
}

// reopened says for each link how a new connection is answered after fault id was taken off it.
func reopened(ctx context.Context, env Env, id int, links []string) (string, error) {
	texts := make([]string, len(links))
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	for i, name := range links {
		wg.Go(func() { texts[i], errs[i] = reopenedOne(ctx, env, id, name) })
	}
	wg.Wait()
	return strings.Join(texts, "; "), errors.Join(errs...)
}

func reopenedOne(ctx context.Context, env Env, id int, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, reopenLimit)
	defer cancel()
	l, err := env.Links.Get(name)
	if err != nil {
		return "", err
	}
	_, to, err := ParseLink(name)
	if err != nil {
		return "", err
	}
	text := ""
	err = until(ctx, func() (bool, error) {
		if ids := env.Links.stalledBy(name, id); len(ids) > 0 {
			text = fmt.Sprintf("%s: released, still stalled by fault %d", name, ids[0])
			return true, nil
		}
		if why := env.outOfService(to); why != "" {
			text = fmt.Sprintf("%s: released, but %s", name, why)
			return true, nil
		}
		took, err := probe(ctx, l.Addr(), 2*time.Second)
		if err != nil {
			return false, nil
		}
		text = fmt.Sprintf("%s: a new connection is answered in %s", name, short(took))
		return true, nil
	})
	if err != nil {
		return "", fmt.Errorf("link %s does not answer %s after it was released, and %s is up", name, reopenLimit, to)
	}
	return text, nil
}

func dirName(d link.Direction) string {
	if d == link.Upstream {
		return directionUp
	}
	return directionDown
}

// both are the two directions of the named links.
func both(links ...string) []end {
	var ends []end
	for _, l := range links {
		ends = append(ends, end{l, link.Upstream}, end{l, link.Downstream})
	}
	return ends
}
