package reports

import "github.com/spockchaos/spockchaos/checker"

// kindText says in one line what a kind of finding means, "" for one that is not known.
func kindText(k checker.Kind) string {
	switch k {
	case checker.Lost:
		return "an acknowledged write that a survivor had is missing on a survivor"
	case checker.Vanished:
		return "a write that was seen on a survivor is on no survivor any more"
	case checker.Resurrected:
		return "a write that had failed, or a row that was deleted, is there"
	case checker.Phantom:
		return "a row or a value that no operation wrote"
	case checker.Doubled:
		return "a write was applied more than once"
	case checker.Diverged:
		return "survivors disagree after everything had settled"
	case checker.Torn:
		return "a part of a transaction is visible without the rest"
	case checker.OutOfOrder:
		return "a later write of a session is visible without an earlier one"
	case checker.SlotRegressed:
		return "a recovery slot's position moved backwards"
	case checker.SlotMissing:
		return "a recovery slot was not there, or kept no WAL"
	case checker.SlotOverran:
		return "a recovery slot passed WAL that a peer still needed"
	case checker.SlotStalled:
		return "a recovery slot did not move though all peers had caught up"
	case checker.RescueIncomplete:
		return "a rescue did not finish, or left source and target different"
	case checker.RescueLeftovers:
		return "a rescue left something behind"
	case checker.RescueNotRepeatable:
		return "calling a rescue again failed or changed data"
	case checker.NotConverging:
		return "the survivors did not agree in time after all faults were healed"
	case checker.ExplainedLoss:
		return "a write was discarded, and a log says so"
	}
	return ""
}
