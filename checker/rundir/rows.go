package rundir

// Tables of the workload, in the order of their row files, with their columns.
// Every value is an int64, rows come sorted by their leading columns.
//
//	ledger    session, n, value             sorted by (session, n)
//	event     session, n, seq               sorted by (session, n, seq); no key: duplicates are kept
//	bulk      session, n, rows, sum(seq)    one row per (session, n)
//	register  key, session, n, value, pad   sorted by key; pad is history.PadSum of the stored pad
//	counter   key, value                    sorted by key
//	account   id, balance                   sorted by id
//	conflict  key, session, n, value, prev_session, prev_n, at   sorted by key
//	version   session, n, key, value, prev_session, prev_n, at   sorted by (session, n, key)
//	version_by_key   key, session, n, value, prev_session, prev_n, at   table version again, sorted by (key, session, n)
//
// at is the commit timestamp of the transaction that wrote the row, in microseconds since 1970; 0 for the rows that conflict
// holds at first. Runs made before there were the last three have no such files.
const (
	TableLedger   = "ledger"
	TableEvent    = "event"
	TableBulk     = "bulk"
	TableRegister = "register"
	TableCounter  = "counter"
	TableAccount  = "account"
	TableConflict = "conflict"
	TableVersion  = "version"

	TableVersionByKey = "version_by_key"
)

// Tables lists the names above; Columns their widths.
var Tables = []string{TableLedger, TableEvent, TableBulk, TableRegister, TableCounter, TableAccount, TableConflict, TableVersion, TableVersionByKey}

// Columns is the number of columns of a table's row file, 0 for an unknown table.
func Columns(table string) int {
	switch table {
	case TableLedger, TableEvent:
		return 3
	case TableBulk:
		return 4
	case TableRegister:
		return 5
	case TableCounter, TableAccount:
		return 2
	case TableConflict, TableVersion, TableVersionByKey:
		return 7
	}
	return 0
}
