package workload

// statement is one of the statements that every session prepares when it connects.
type statement uint8

const (
	stMarker statement = iota
	stBegin
	stCommit
	stRollback
	stEvent
	stRegisterInsert
	stRegisterUpdate
	stRegisterDelete
	stRegisterRekey
	stCounterAdd
	stAccountAdd
	stBulkInsert
	stBulkDelete
	stHasMarker
	stKeys
	stConflictPut
	statements // how many there are
)

const (
	oidInt8 = 20
	oidInt4 = 23
	oidText = 25
)

// sql is the statement's text and its parameters' types. Parameters are sent in binary.
func (s statement) sql() (text string, params []uint32) {
	switch s {
	case stMarker:
		return `insert into chaos.ledger (session, n, value) values ($1, $2, $3)`, []uint32{oidInt4, oidInt8, oidInt8}
	case stBegin:
		return `begin`, nil
	case stCommit:
		return `commit`, nil
	case stRollback:
		return `rollback`, nil
	case stEvent:
		return `insert into chaos.event (session, n, seq) values ($1, $2, $3)`, []uint32{oidInt4, oidInt8, oidInt4}
	case stRegisterInsert:
		return `insert into chaos.register (key, session, n, value, pad) values ($1, $2, $3, $4, $5)`,
			[]uint32{oidInt8, oidInt4, oidInt8, oidInt8, oidText}
	case stRegisterUpdate:
		return `update chaos.register set session = $2, n = $3, value = $4 where key = $1`,
			[]uint32{oidInt8, oidInt4, oidInt8, oidInt8}
	case stRegisterDelete:
		return `delete from chaos.register where key = $1`, []uint32{oidInt8}
	case stRegisterRekey:
		return `update chaos.register set key = $2, session = $3, n = $4 where key = $1`,
			[]uint32{oidInt8, oidInt8, oidInt4, oidInt8}
	case stCounterAdd:
		return `update chaos.counter set value = value + $2 where key = $1`, []uint32{oidInt8, oidInt8}
	case stAccountAdd:
		return `update chaos.account set balance = balance + $2 where id = $1`, []uint32{oidInt8, oidInt8}
	case stBulkInsert:
		return `insert into chaos.bulk (session, n, seq) select $1, $2, i from generate_series(0, $3 - 1) i`,
			[]uint32{oidInt4, oidInt8, oidInt4}
	case stBulkDelete:
		return `delete from chaos.bulk where session = $1 and n = $2`, []uint32{oidInt4, oidInt8}
	case stHasMarker:
		return `select n from chaos.ledger where session = $1 and n = $2`, []uint32{oidInt4, oidInt8}
	case stKeys:
		return `select key from chaos.register where key between $1 and $2`, []uint32{oidInt8, oidInt8}
	case stConflictPut: // "on conflict" locks the row it meets, so what it returns is what it overwrote
		return `with put as (
			insert into chaos.conflict as c (key, session, n, value, prev_session, prev_n) values ($1, $2, $3, $4, 0, 0)
			on conflict (key) do update set session = excluded.session, n = excluded.n, value = excluded.value, prev_session = c.session, prev_n = c.n
			returning key, session, n, value, prev_session, prev_n)
			insert into chaos.version (key, session, n, value, prev_session, prev_n) select * from put`,
			[]uint32{oidInt8, oidInt4, oidInt8, oidInt8}
	}
	return "", nil
}

// name is the statement's name on the server.
func (s statement) name() string { return statementNames[s : s+1] }

const statementNames = "abcdefghijklmnopqrstuvwxyz" // at least as many as there are statements
