package world

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Where the login behind a login server cannot be read, it may be one's own.
func TestUnreadableLogin(t *testing.T) {
	const stat = "77 (sshd) S 1 77 77 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 1000 0 0"
	s := Self{Login: 1234}
	for login, want := range map[string]bool{"1234": true, "99": false, "4294967295": false, "?": true, "": true} {
		dir := t.TempDir()
		must(t, "directory", os.Mkdir(filepath.Join(dir, "77"), 0o755))
		must(t, "stat", os.WriteFile(filepath.Join(dir, "77", "stat"), []byte(stat), 0o644))
		must(t, "login", os.WriteFile(filepath.Join(dir, "77", "loginuid"), []byte(login), 0o644))
		proc := procfs.New(dir)
		s.LoginOf = func(o *collectors.Owner) (uint32, error) { return proc.LoginUID(o.PID, o.StartTime) }
		for start, want := range map[uint64]bool{1000: want, 1001: false} { // nothing of another process needs sparing
			o := &collectors.Owner{PID: 77, StartTime: start, Comm: "sshd"}
			if got := s.IsLogin(o); got != want {
				t.Errorf("login %q, start time %d: %t", login, start, got)
			}
		}
	}
}

// The session is found in the environment in every form that sshd writes.
func TestFindSelf(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"192.0.2.1 50000 192.0.2.2 22":       "192.0.2.1:50000",
		"::ffff:192.0.2.1 50000 ::1 22":      "192.0.2.1:50000",
		"fe80::1%eth0 50000 fe80::2%eth0 22": "[fe80::1]:50000",
		"2001:db8::1 50000 22":               "[2001:db8::1]:50000",
		"garbage":                            "",
		"192.0.2.1 99999 192.0.2.2 22":       "",
		"192.0.2.256 22 192.0.2.2 22":        "",
	} {
		t.Setenv("SSH_CLIENT", "")
		t.Setenv("SSH_CONNECTION", text)
		s := findSelf(procfs.New(""))
		got := ""
		for _, a := range s.Session {
			got += a.String()
		}
		if got != want || s.PID != os.Getpid() {
			t.Errorf("%q: %q, PID %d", text, got, s.PID)
		}
	}
	s := Self{Session: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:50000")}}
	if s.IsSession(&collectors.Socket{Remote: collectors.AddrFrom(netip.MustParseAddr("192.0.2.1")), RemotePort: 50001}) {
		t.Error("another port is taken for the session")
	}
}

// BPF numbers processes as system calls do, not as a /proc of another PID namespace does.
func TestForeignProc(t *testing.T) {
	k := &kernelOwners{how: OwnersBPF, log: slog.New(slog.DiscardHandler), proc: procfs.New("")}
	k.cover.Coverage, k.cover.at = Coverage{Inside: true, Foreign: true}, Mono()
	if _, err := k.ownersProgram(); !errors.Is(err, collectors.ErrNotSupported) {
		t.Errorf("owners by BPF: %v", err)
	}
}
