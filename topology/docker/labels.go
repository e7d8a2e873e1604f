package docker

import (
	"crypto/rand"
	"encoding/hex"
	"maps"

	"github.com/spockchaos/spockchaos/topology/owner"
)

// Labels of everything that a cluster is made of.
const (
	LabelRun   = "io.spockchaos.run"   // which cluster: a random word
	LabelOwner = "io.spockchaos.owner" // owner.Owner of the process that made it
	// LabelKept is on a volume that exists for nothing else: its cluster was left up on purpose.
	LabelKept = "io.spockchaos.kept"
)

// run is one cluster's name and labels.
type run struct {
	id     string
	labels map[string]string
}

func newRun() (run, error) {
	self, err := owner.Self()
	if err != nil {
		return run{}, err
	}
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	id := hex.EncodeToString(b)
	return run{id: id, labels: map[string]string{LabelRun: id, LabelOwner: self.String()}}, nil
}

// name of a part of the cluster: what `docker ps` shows.
func (r run) name(part string) string { return "spockchaos-" + r.id + "-" + part }

// with adds a label.
func (r run) with(label string) map[string]string {
	l := maps.Clone(r.labels)
	l[label] = "true"
	return l
}

// filter finds everything of the cluster.
func (r run) filter() string { return LabelRun + "=" + r.id }
