package owner

import (
	"os/exec"
	"testing"
)

func TestSelf(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(self.String())
	if err != nil || again != self {
		t.Errorf("%v became %v, %v", self, again, err)
	}
	if s, err := self.State(); s != Alive || err != nil {
		t.Errorf("this process is %v, %v", s, err)
	}
	for what, other := range map[string]struct {
		change func(*Owner)
		want   State
	}{
		"an earlier boot":        {func(o *Owner) { o.Boot = "other" }, Dead},
		"another of the same id": {func(o *Owner) { o.Started-- }, Dead},
		"another namespace":      {func(o *Owner) { o.Space = "1" }, Unknown},
	} {
		o := self
		other.change(&o)
		if s, err := o.State(); s != other.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", what, s, err, other.want)
		}
	}
}

// A process that has ended is dead, also while nobody has asked for its status.
func TestDead(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	o.PID = cmd.Process.Pid
	if o.Started, err = startOf(o.PID); err != nil {
		t.Fatal(err)
	}
	if s, err := o.State(); s != Alive || err != nil {
		t.Errorf("while it runs it is %v, %v", s, err)
	}
	_ = in.Close()
	if _, err := out.Read(make([]byte, 1)); err == nil { // its end of file comes with its end
		t.Error("cat said something")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if s, err := o.State(); s != Dead || err != nil {
		t.Errorf("when it has ended it is %v, %v", s, err)
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", "1", "1/2/3", "x/2/b/n", "1/x/b/n", "0/2/b/n", "1/2//n", "1/2/b/", "1/2/b/n/more"} {
		if o, err := Parse(bad); err == nil {
			t.Errorf("%q: %v", bad, o)
		}
	}
}
