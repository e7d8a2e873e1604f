package pglogical

import (
	"cmp"
	"strings"
)

// Dialect is how an extension of pglogical's lineage calls what they all have. The catalogs are the same.
type Dialect struct {
	// Name is that of the extension, of its schema, and the beginning of its processes' names, libraries and settings.
	Name string
	// The functions, without schema.
	NodeCreate, SubCreate, SubDrop, SubDisable, SubEnable, SubAddSet, SubStatus, SetAddTable, SlotName string
	// WalSender is the application_name of a subscriber's walsender: an expression over the subscription's name (sub) and its slot's (slot).
	WalSender string
	// NodeOrigin is an expression over the catalog of nodes (n): the name of a second replication origin that shows how far a subscriber has
	// come with that node. Empty where there is none.
	NodeOrigin string
	// Rescue is an expression over the catalog of subscriptions (s): true for the temporary one of a rescue of the server's own, which
	// is no part of the mesh. Empty where there is none.
	Rescue string
	// Settings are those that the others do not have.
	Settings map[string]string
	// Deciding are those of its settings that decide over conflicts and failures and that the others do not have.
	Deciding []string
}

// New is the engine for pglogical itself.
func New() Engine {
	return Of(Dialect{
		Name:       "pglogical",
		NodeCreate: "create_node", SetAddTable: "replication_set_add_table", SlotName: "pglogical_gen_slot_name",
		SubCreate: "create_subscription", SubDrop: "drop_subscription", SubStatus: "show_subscription_status",
		SubDisable: "alter_subscription_disable", SubEnable: "alter_subscription_enable", SubAddSet: "alter_subscription_add_replication_set",
		WalSender: "sub",
	})
}

// Of is the engine for an extension of this lineage.
func Of(d Dialect) Engine {
	f := func(name string) string { return d.Name + "." + name }
	return Engine{dialect: d, names: strings.NewReplacer(
		"{schema}", d.Name, "{node_create}", f(d.NodeCreate), "{sub_create}", f(d.SubCreate), "{sub_drop}", f(d.SubDrop),
		"{sub_disable}", f(d.SubDisable), "{sub_enable}", f(d.SubEnable), "{sub_add_set}", f(d.SubAddSet), "{sub_status}", f(d.SubStatus),
		"{set_add_table}", f(d.SetAddTable), "{slot_name}", f(d.SlotName), "{walsender}", d.WalSender, "{node_origin}", cmp.Or(d.NodeOrigin, "''"),
		"{rescue}", cmp.Or(d.Rescue, "false"),
	)}
}

// sql is a statement with the extension's names in it.
func (e Engine) sql(text string) string { return e.names.Replace(text) }
