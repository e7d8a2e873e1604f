// Package rescue brings the survivors of a lost node level: what each of them has, who is source and who target, the CALL, and what
// it must not leave behind. A run (package chaos) uses the parts on its own cluster; Open, Plan and Run do all of it on a cluster that
// somebody else made, for `spockchaos recover`.
//
// It imports chaos/retained, checker/rundir, topology/attach and topology/engine; chaos, chaos/scenario and cmd import it.
package rescue
