// Package watch looks at the nodes while a round is on, straight and never
// through a link: the watcher samples slots, origins and WAL positions of every
// node, the observers read snapshots of the workload's tables and make what they
// saw durable. At the end of a round it waits until nodes hold the same data
// (WaitEqual), and writes their final snapshots (Snapshot).
//
// It only reads, with one exception: an observer that saw something new has the
// node commit an empty message, which flushes its WAL (flush.go says why).
//
// It may import topology, checker/rundir and workload/history; chaos imports it.
package watch
