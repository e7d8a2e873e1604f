package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// interrupts turns the first signal into the end of a context and the second into
// the end of the process.
type interrupts struct {
	ctx  context.Context // ends at the first signal
	stop func()
}

// watchSignals is to be ended by stop. say is where the user is told, then what the first signal makes the command do.
func (a *App) watchSignals(parent context.Context, say io.Writer, then string) *interrupts {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 4)
	done := make(chan struct{})
	unsubscribe := a.Notify(signals)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-done:
				return
			case s := <-signals:
				if n > 1 {
					fmt.Fprintf(say, "%s again: stopping at once\n", s)
					// The watchdog ends every process of the cluster.
					a.Exit(ExitInterrupted)
					return
				}
				fmt.Fprintf(say, "%s: %s; again to stop at once\n", s, then)
				cancel()
			}
		}
	})
	return &interrupts{ctx, func() {
		unsubscribe()
		close(done)
		wg.Wait()
		cancel()
	}}
}
