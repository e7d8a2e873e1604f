package chaos

import "context"

// Run makes the run directory cfg.Dir and everything in it but the reports. When
// ctx is cancelled it heals what is broken, takes final snapshots of what there
// is, stops every process and returns nil with run.json marked interrupted.
//
// A *UsageError means that the run could not be begun for a reason that the user
// can mend; nothing is left behind then.
func Run(ctx context.Context, cfg Config, deps Deps) error {
	panic("not built yet")
}
