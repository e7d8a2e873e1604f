package history

// String is the kind's name in the JSON form of a history.
func (k EffectKind) String() string {
	switch k {
	case EventInsert:
		return "event_insert"
	case RegisterInsert:
		return "register_insert"
	case RegisterUpdate:
		return "register_update"
	case RegisterDelete:
		return "register_delete"
	case RegisterRekey:
		return "register_rekey"
	case CounterAdd:
		return "counter_add"
	case Transfer:
		return "transfer"
	case BulkInsert:
		return "bulk_insert"
	case BulkDelete:
		return "bulk_delete"
	case ConflictPut:
		return "conflict_put"
	}
	return "unknown"
}

func (k EffectKind) valid() bool { return k >= EventInsert && k <= ConflictPut }
