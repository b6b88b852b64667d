package procfs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/host"
	"sockwarden/collectors/socklab"
)

// The tests have their own network; one that looks like the machine's counts as the
// machine's.
func TestInitialNetwork(t *testing.T) {
	socklab.Need(t)
	if New("").InitialNetwork() {
		t.Error("the namespace of the tests is taken for the machine's")
	}
	for _, test := range []struct {
		files   map[string]string
		initial bool
	}{
		{map[string]string{"sys/net/core/somaxconn": "4096", "sys/net/core/netdev_max_backlog": "1000"}, true},
		{map[string]string{"sys/net/core/somaxconn": "4096"}, false},
		{map[string]string{"uptime": "1 1"}, true}, // subset=pid
	} {
		if got := New(tree(t, test.files)).InitialNetwork(); got != test.initial {
			t.Errorf("%v: %t", test.files, got)
		}
	}
}

// The tests run in a PID namespace, with its own /proc.
func TestCoverage(t *testing.T) {
	socklab.Need(t)
	f := New("")
	if c := f.Coverage(); c != (Coverage{Inside: true}) {
		t.Errorf("%+v", c)
	}
	if self, err := f.Self(); err != nil || self != os.Getpid() {
		t.Errorf("self is %d, %v", self, err)
	}
	// Without the capability the answer depends on the mount.
	must(t, "mount", unix.Mount("proc", "/proc", "proc", 0, "hidepid=4"))
	t.Cleanup(func() { must(t, "unmount", unix.Unmount("/proc", unix.MNT_DETACH)) })
	var blind Coverage
	must(t, "without capability", socklab.WithoutCapability(t, func() error {
		blind = f.Coverage()
		return nil
	}, unix.CAP_SYS_PTRACE))
	if blind.HidePID == "" || !blind.Inside || blind.Foreign {
		t.Errorf("without CAP_SYS_PTRACE: %+v", blind)
	}
	if initial, err := host.InitialUser.In(); err == nil && initial != (f.Coverage().HidePID == "") {
		t.Errorf("with it: %+v", f.Coverage())
	}
	// A tree that does not contain this process.
	if c := New(tree(t, map[string]string{"1/stat": "1 (init) S 0"})).Coverage(); !c.Foreign || !c.Inside {
		t.Errorf("a tree of others: %+v", c)
	}
}
