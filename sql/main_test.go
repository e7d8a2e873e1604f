package sql_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestThreeNodes shares one cluster; each test has it as it was when it was made.
func TestThreeNodes(t *testing.T) {
	m := newMesh(t, 3)
	m.save()
	for _, test := range []struct {
		name string
		run  func(*testing.T, *mesh)
	}{
		{"AdvanceRule", testAdvanceRule},
		{"RecoverySlotName", testRecoverySlotName},
		{"Tracking", testTracking},
		{"Rescue", testRescue},
		{"RescueConflicts", testRescueConflicts},
		{"RescueResolvesAsTheEngine", testRescueResolvesAsTheEngine},
		{"SuspendInTheMiddle", testSuspendInTheMiddle},
		{"RescueSkipAndStop", testRescueSkipAndStop},
		{"RescueInterrupted", testRescueInterrupted},
		{"RescueIdentityFull", testRescueIdentityFull},
		{"RescueDeltas", testRescueDeltas},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, m.fresh(t)) })
	}
}
