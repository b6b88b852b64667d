package recording

import (
	"net/netip"
	"strings"
	"testing"

	"sockwarden/collectors"
)

// TestAnonymousValues: what names somebody is replaced, for every field that there is, and
// equal ones stay equal.
func TestAnonymousValues(t *testing.T) {
	const secret = "sekret.example"
	words := collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState, collectors.FieldCookie, collectors.FieldMPTCPToken,
		collectors.FieldAgeSource, collectors.FieldTimer, collectors.FieldCongestion, collectors.FieldDirection, collectors.FieldPublished,
		// The comm of processes stays, and the base names of programs, as in recordings.
		collectors.FieldProcess, collectors.FieldListenerProcess, collectors.FieldPeerProcess, collectors.FieldExe)
	a := NewAnonymiser()
	for _, d := range collectors.AllFields() {
		switch d.Type {
		case collectors.TypeString:
			to, _ := a.Value(d.Field, secret).(string)
			if words.Has(d.Field) != strings.Contains(to, secret) {
				t.Errorf("%s: %q", d.Name, to)
			}
			if to != a.Value(d.Field, secret) {
				t.Errorf("%s differs each time", d.Name)
			}
		case collectors.TypeAddr:
			addr := netip.MustParseAddr("8.8.4.4")
			if to := a.Value(d.Field, addr); to == addr || to != a.Value(d.Field, addr) {
				t.Errorf("%s: %v", d.Name, to)
			}
		case collectors.TypeBool, collectors.TypeNumber, collectors.TypePort, collectors.TypeSeconds:
			if a.Value(d.Field, 7.0) != 7.0 {
				t.Errorf("%s is a number, and changes", d.Name)
			}
		}
	}
	if to, _ := a.Value(collectors.FieldPublished, "8.8.4.4:80").(string); strings.HasPrefix(to, "8.8.4.4") || !strings.HasSuffix(to, ":80") {
		t.Errorf("published: %s", to)
	}
	if to := a.Value(collectors.FieldExe, "/opt/sekret/hbbs"); to != "/dir2/hbbs" {
		t.Errorf("exe: %s", to)
	}
}
