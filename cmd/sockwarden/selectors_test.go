package main

import (
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// What --container and --unit ask of a process, and which processes they match.
func TestContainerAndUnit(t *testing.T) {
	id := "ab12cd" + strings.Repeat("0", 58)
	hbbs := collectors.Owner{PID: 7, Name: "hbbs", Unit: "docker-" + id + ".scope", Container: id, ContainerNames: collectors.ContainerNames{ContainerName: "hbbs"}}
	onHost := collectors.Owner{PID: 8, Name: "hbbs", Unit: "hbbs.service"}
	for _, c := range []struct {
		sel           selectors
		want          string
		inside, owned bool // whether it matches hbbs, and the one on the host
	}{
		{selectors{containers: []string{"hbbs"}}, `(container == "hbbs")`, true, false},
		{selectors{containers: []string{"hbbr", "hbbs"}}, `(container == "hbbr" or container == "hbbs")`, true, false},
		{selectors{containers: []string{"ab12cd"}}, `(container == "ab12cd" or container_id startsWith "ab12cd")`, true, false},
		{selectors{containers: []string{"ab12c"}}, `(container == "ab12c")`, false, false},
		{selectors{containers: []string{"ab12cd1"}}, `(container == "ab12cd1" or container_id startsWith "ab12cd1")`, false, false},
		{selectors{containers: []string{id}}, `(container_id startsWith "` + id + `")`, true, false},
		{selectors{units: []string{"hbbs"}}, `unit in ["hbbs.service"]`, false, true},
		{selectors{units: []string{"hbbs.service", "x.scope"}}, `unit in ["hbbs.service", "x.scope"]`, false, true},
		{selectors{containers: []string{"hbbs"}, pids: []string{"7"}}, `pid in [7] and (container == "hbbs")`, true, false},
		{selectors{containers: []string{"hbbs"}, processes: []string{"x"}}, `process in ["x"] and (container == "hbbs")`, false, false},
		{selectors{}, "", false, false},
	} {
		got, err := c.sel.owner()
		if err != nil || got != c.want {
			t.Errorf("%+v: %s, %v", c.sel, got, err)
		}
		if c.sel.namesOwner(&hbbs) != c.inside || c.sel.namesOwner(&onHost) != c.owned {
			t.Errorf("%+v: about hbbs in its container %t, on the host %t", c.sel, c.sel.namesOwner(&hbbs), c.sel.namesOwner(&onHost))
		}
		if c.sel.given() != (c.want != "") {
			t.Errorf("%+v: given is %t", c.sel, c.sel.given())
		}
	}
}

// A container or a RustDesk server is searched for in every namespace, unless --netns says
// where. Other ports are those of the host, even beside these.
func TestSelectedNamespaces(t *testing.T) {
	ports := func(lists ...string) *selectors { return &selectors{ports: lists} }
	in, other := selectors{containers: []string{"hbbs"}}, selectors{units: []string{"hbbs"}}
	other443 := &rules.Set{Ranges: []lang.Range{{Low: 443, High: 443}}}
	for _, c := range []struct{ got, want string }{
		{in.netns("", rules.BuiltinSets()), "all"},
		{in.netns("host", rules.BuiltinSets()), "host"},
		{other.netns("", rules.BuiltinSets()), ""},
		{other.netns("blue", rules.BuiltinSets()), "blue"},
		{ports("rustdesk").netns("", rules.BuiltinSets()), "all"},
		{ports("rustdesk", " rustdesk").netns("", rules.BuiltinSets()), "all"},
		{ports("rustdesk").netns("host", rules.BuiltinSets()), "host"},
		{ports("rustdesk").netns("", map[string]*rules.Set{"rustdesk": other443}), ""}, // the name means something else here
		{ports("21115-21119").netns("", rules.BuiltinSets()), ""},
		{ports("rustdesk,8080").netns("", rules.BuiltinSets()), ""},
		{ports("rustdesk", "22").netns("", rules.BuiltinSets()), ""},
		{ports("ssh").netns("", rules.BuiltinSets()), ""},
		{(&selectors{remotePorts: []string{"rustdesk"}}).netns("", rules.BuiltinSets()), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, not %q", c.got, c.want)
		}
	}
}
