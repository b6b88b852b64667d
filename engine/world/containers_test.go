package world

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/containers"
)

// About a container only what its engine says is known.
func TestContainerOf(t *testing.T) {
	all := containers.Container{Engine: containers.CRI, Name: "hbbs", Pod: "relay/hbbs-0", Image: "hbbs:1", ComposeService: "relay", Labels: map[string]string{"team": "net", "db.password": "x"}}
	for part, fields := range map[containers.Part][]collectors.Field{
		0:                    nil,
		containers.PartName:  {collectors.FieldContainer},
		containers.PartImage: {collectors.FieldImage},
		containers.PartPod:   {collectors.FieldPod},
		containers.PartName | containers.PartLabels | containers.PartMode: {collectors.FieldContainer, collectors.FieldComposeService},
	} {
		a := containers.Answer{Container: all}
		a.Container.Known = part
		c := containerOf(a)
		if c.Known != collectors.Fields(fields...) || c.Err != nil || c.Absent {
			t.Errorf("%b: %+v", part, c)
		}
		want := collectors.ContainerNames{
			Engine: "cri", ContainerName: "hbbs", ComposeService: "relay", Pod: "relay/hbbs-0", Image: "hbbs:1", ContainerLabels: map[string]string{"team": "net"},
		}
		if !reflect.DeepEqual(c.ContainerNames, want) {
			t.Errorf("%+v", c.ContainerNames)
		}
	}
}

// Why nothing is known, and whether there was anybody to ask.
func TestContainerUnknown(t *testing.T) {
	for err, absent := range map[error]bool{
		containers.ErrNoEngine: true, containers.ErrNoSuch: true, containers.ErrSilent: false, containers.ErrNotPermitted: false, containers.ErrUntrusted: false,
	} {
		c := containerOf(containers.Answer{Err: fmt.Errorf("/run/docker.sock: %w", err)})
		if !errors.Is(c.Err, err) || c.Absent != absent || !c.Known.Empty() {
			t.Errorf("%v: %+v", err, c)
		}
	}
}

// Where there is no engine, each control group has its own answer.
func TestContainersWithoutEngine(t *testing.T) {
	e := engines{containers.New(containers.Options{})}
	one, two := "/docker/"+strings.Repeat("a", 64), "/docker/"+strings.Repeat("b", 64)
	found := e.Lookup(t.Context(), []string{one, two})
	if len(found) != 2 || !errors.Is(found[one].Err, containers.ErrNoEngine) || !found[two].Absent {
		t.Errorf("%+v", found)
	}
}
