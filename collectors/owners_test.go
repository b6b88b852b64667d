package collectors

import "testing"

// A log names the service of a process, and nothing that tells less than the process does.
func TestInService(t *testing.T) {
	known := Fields(FieldUnit)
	service := Owner{Known: known, Unit: "hbbs.service"}
	if got := service.InService(); got != "hbbs.service" {
		t.Errorf("%q", got)
	}
	for _, o := range []Owner{
		{},
		{Unit: "hbbs.service"}, // not known
		{Known: known, Unit: "session-1.scope"},
		{Known: known, Unit: "ssh.service", Container: "0123"},
	} {
		if got := o.InService(); got != "" {
			t.Errorf("%+v: %q", o, got)
		}
	}
}
