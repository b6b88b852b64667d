package sockdiag

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// The dump shows the same sockets as ss from iproute2: protocol, state and both ends. TCP
// sockets that are only bound are left out, since ss before 6.9 does not ask for them.
func TestSameAsSS(t *testing.T) {
	if _, err := exec.LookPath("ss"); err != nil {
		socklab.Lacks(t, err)
	}
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			socklab.Make(t, k, f)
		}
	}
	c := dialTest(t, -1)
	for args, q := range map[string]collectors.Query{
		"-tuanH": everything,
		"-tanH":  {Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates},
		"-uanH":  {Protocols: []collectors.Protocol{collectors.UDP}, States: collectors.AllStates},
		"-tnH": {
			Protocols: []collectors.Protocol{collectors.TCP},
			States:    collectors.AllStates &^ collectors.Mask(collectors.Listen, collectors.SynRecv, collectors.TimeWait),
		},
		"-tnlH": {Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Listen)},
	} {
		t.Run(args, func(t *testing.T) {
			var want, got []string
			// Leftovers of other tests may end between the two dumps.
			for range 3 {
				if want, got = bySS(t, args), byDump(t, c, q); slices.Equal(want, got) && len(got) > 0 {
					return
				}
			}
			for _, s := range want {
				if !slices.Contains(got, s) {
					t.Errorf("only ss shows   %s", s)
				}
			}
			for _, s := range got {
				if !slices.Contains(want, s) {
					t.Errorf("only Dump shows %s", s)
				}
			}
			t.Errorf("ss shows %d, Dump %d sockets", len(want), len(got))
		})
	}
}

func byDump(t *testing.T, c *Conn, q collectors.Query) []string {
	t.Helper()
	var all []string
	for _, s := range dumpTest(t, c, q) {
		if s.Protocol == collectors.TCP && s.State == collectors.Close {
			continue
		}
		local, remote := ends(&s)
		all = append(all, fmt.Sprintf("%s %s %s %s", s.Protocol, s.State, local, remote))
	}
	slices.Sort(all)
	return all
}

func bySS(t *testing.T, args string) []string {
	t.Helper()
	var errs strings.Builder
	cmd := exec.CommandContext(t.Context(), "ss", args)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	must(t, "ss "+errs.String(), err)
	var all []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if !strings.Contains(args, "t") || !strings.Contains(args, "u") { // there is no column for the protocol
			f = append([]string{map[bool]string{true: "tcp", false: "udp"}[strings.Contains(args, "t")]}, f...)
		}
		state, ok := collectors.ParseState(f[1])
		if !ok || len(f) < 6 {
			t.Fatalf("ss says %q", line)
		}
		all = append(all, fmt.Sprintf("%s %s %s %s", f[0], state, endBySS(t, f[4]), endBySS(t, f[5])))
	}
	slices.Sort(all)
	return all
}

// endBySS reads addr:port as ss writes it: *:* for [::]:0, IPv6 in brackets, * for port
// 0, %interface after link-local addresses.
func endBySS(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	i := strings.LastIndexByte(s, ':')
	host, port := s[:i], s[i+1:]
	host, _, _ = strings.Cut(host, "%")
	host = strings.Trim(host, "[]")
	if host == "*" {
		host = "::"
	}
	if port == "*" {
		port = "0"
	}
	a, err := netip.ParseAddr(host)
	must(t, s, err)
	p, err := netip.ParseAddrPort("0.0.0.0:" + port)
	must(t, s, err)
	return netip.AddrPortFrom(a.Unmap(), p.Port())
}
