package news

import (
	"maps"
	"strings"
	"testing"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// A message has the labels of the containers of the findings that it describes, and no
// others; lines have none.
func TestContainerLabels(t *testing.T) {
	in := func(letter, name string, labels map[string]string) *report.Finding {
		o := collectors.Owner{Name: "app", Container: strings.Repeat(letter, 64), ContainerNames: collectors.ContainerNames{
			Engine: "docker", ContainerName: name, ContainerLabels: labels,
		}}
		o.Known.Add(collectors.ContainerFields())
		c := &look.Candidate{NS: &look.Namespace{}, Socket: collectors.Socket{Protocol: collectors.TCP, Cookie: 1}, Facts: collectors.Facts{Owners: []collectors.Owner{o}}}
		return &report.Finding{Rule: &rules.Rule{Name: "r"}, Candidate: c, Decision: report.DecideObserve}
	}
	all := []*report.Finding{
		in("a", "hbbs", map[string]string{"team": "net"}), in("a", "hbbs", map[string]string{"team": "net"}), in("b", "hbbr", nil), in("c", "web", map[string]string{"x": "y"}),
	}
	var m actions.Message
	describe(&m, all)
	if len(m.ContainerLabels) != 2 || !maps.Equal(m.ContainerLabels["docker:hbbs"], map[string]string{"team": "net"}) || m.ContainerLabels["docker:web"]["x"] != "y" {
		t.Errorf("%v", m.ContainerLabels)
	}
	if text := strings.Join(m.Lines, "\n"); strings.Contains(text, "net") || !strings.Contains(text, "docker:hbbs") {
		t.Errorf("%s", text)
	}
	for range MaxLinesOfMessage {
		all = append([]*report.Finding{in("d", "first", map[string]string{"a": "b"})}, all...)
	}
	m = actions.Message{}
	if describe(&m, all); len(m.ContainerLabels) != 1 || m.ContainerLabels["docker:first"]["a"] != "b" {
		t.Errorf("%v", m.ContainerLabels)
	}
	m = actions.Message{}
	if describe(&m, all[MaxLinesOfMessage+2:MaxLinesOfMessage+3]); m.ContainerLabels != nil {
		t.Errorf("%v", m.ContainerLabels)
	}
}
