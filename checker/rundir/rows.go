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
const (
	TableLedger   = "ledger"
	TableEvent    = "event"
	TableBulk     = "bulk"
	TableRegister = "register"
	TableCounter  = "counter"
	TableAccount  = "account"
)

// Tables lists the names above; Columns their widths.
var Tables = []string{TableLedger, TableEvent, TableBulk, TableRegister, TableCounter, TableAccount}

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
	}
	return 0
}
