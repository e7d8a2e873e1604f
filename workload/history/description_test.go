package history

import (
	"encoding/json"
	"strings"
	"testing"
)

// run.json of a run without shared counters is what it was before there were any.
func TestWorkloadWithoutSharedCounters(t *testing.T) {
	const old = `{"seed":1,"sessions":[{"id":1,"node":"n1","workload":"counter"}],"pools":[{"node":"n1","first_counter":1000000,"counters":32,"first_account":1000000,"accounts":64,"initial_balance":1000}]}`
	var w Workload
	d := json.NewDecoder(strings.NewReader(old))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		t.Fatal(err)
	}
	if w.SharedCounters != (Counters{}) || w.Pools[0].Counters != 32 {
		t.Errorf("%+v", w)
	}
	again, err := json.Marshal(w)
	if err != nil || string(again) != old {
		t.Errorf("%v\n%s\n%s", err, again, old)
	}
}
