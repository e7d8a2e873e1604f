package spock

import (
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
)

// Engine is the adapter.
type Engine struct{ pglogical.Engine }

var (
	_ engine.Discarder     = Engine{}
	_ engine.ConflictSaver = Engine{}
	_ engine.DeltaApplier  = Engine{}
	_ engine.Recoverer     = Engine{}
)

// New is the engine.
func New() Engine {
	return Engine{pglogical.Of(pglogical.Dialect{
		Name:       "spock",
		NodeCreate: "node_create", SetAddTable: "repset_add_table", SlotName: "spock_gen_slot_name",
		SubCreate: "sub_create", SubDrop: "sub_drop", SubStatus: "sub_show_status",
		SubDisable: "sub_disable", SubEnable: "sub_enable", SubAddSet: "sub_add_repset",
		WalSender:  "slot",
		NodeOrigin: "'spk_node_' || n.node_id",
		Rescue:     rescueFlag("s", "sub_rescue_temporary"),
		Settings: map[string]string{
			// Every resolved conflict is in spock.resolutions …
			"spock.save_resolutions": "on",
			// … but for an update that took the place of another node's row: that one is in the server log.
			"spock.log_origin_change": "since_sub_creation",
		},
		Deciding: []string{"spock.exception_behaviour", "spock.save_resolutions"},
	})}
}
