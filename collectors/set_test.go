package collectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

// samples are values of a field: both of a bool, every declared one, or a few.
func samples(d *FieldDoc) []any {
	var all []any
	switch {
	case d.Field == FieldCookie, d.Field == FieldMPTCPToken:
		return []any{"0", "c0ffee"}
	case d.Type == TypeBool:
		return []any{true, false}
	case len(d.Values) > 0:
		for _, v := range d.Values {
			all = append(all, v)
		}
		return all
	case d.Type == TypeString:
		return []any{"", "web", "another text"}
	case d.Type == TypeAddr:
		return []any{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::1")}
	case d.Type == TypeSeconds:
		return []any{0.0, 0.25, 240.0}
	case d.Type == TypePort:
		return []any{0.0, 443.0, 65_535.0}
	}
	return []any{0.0, 1.0, 200.0}
}

// TestMain fails unless every declaration is complete, because tests would call what is
// missing.
func TestMain(m *testing.M) {
	if err := undeclared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// undeclared names each field with an incomplete declaration.
func undeclared() error {
	var errs []error
	all := AllFields()
	for i := range all {
		d := &all[i]
		if d.Name == "" {
			errs = append(errs, fmt.Errorf("field %d, behind %s: not declared", i, all[max(0, i-1)].Name))
			continue
		}
		if d.Cost == costMissing || d.Cost >= costCount {
			errs = append(errs, fmt.Errorf("field %s: cost %d: say what it takes to know it", d.Name, d.Cost))
		}
		if err := d.missing(); err != nil {
			errs = append(errs, fmt.Errorf("field %s: %w", d.Name, err))
		}
	}
	return errors.Join(errs...)
}

// What a field's setter sets shows in its reader, in JSON and in the parts of the record.
func TestEachFieldIsWhole(t *testing.T) {
	all := AllFields()
	for i := range all {
		d := &all[i]
		t.Run(d.Name, func(t *testing.T) {
			for _, v := range samples(d) {
				checkSet(t, d, v)
			}
		})
	}
}

// missing names the reader or setter that the type needs and the declaration lacks.
func (d *FieldDoc) missing() error {
	type access struct{ reads, sets bool }
	has := map[string]access{
		"Num": {d.Num != nil, d.SetNum != nil}, "Str": {d.Str != nil, d.SetStr != nil},
		"Bool": {d.Bool != nil, d.SetBool != nil}, "Addr": {d.Addr != nil, d.SetAddr != nil},
	}
	wants := map[Type]string{
		TypeBool: "Bool", TypeNumber: "Num", TypeSeconds: "Num", TypePort: "Num", TypeString: "Str", TypeAddr: "Addr",
	}[d.Type]
	var errs []error
	for name, a := range has {
		if want := (access{name == wants, name == wants}); a != want {
			errs = append(errs, fmt.Errorf("of type %s: %s is there: %t, Set%s: %t, both should be: %t", d.Type, name, a.reads, name, a.sets, name == wants))
		}
	}
	return errors.Join(errs...)
}

func checkSet(t *testing.T, d *FieldDoc, v any) {
	t.Helper()
	var r Record
	if err := Set(d.Field, &r, v); err != nil {
		t.Errorf("set %v: %v", v, err)
		return
	}
	if got, ok := Value(d.Field, &r); !ok || got != v {
		t.Errorf("set %v, read %v (known: %t)", v, got, ok)
	}
	if want := Fields(d.Field); r.Known != want {
		t.Errorf("set %v: known %s", v, r.Known)
	}
	joined := NewRecord(r.Socket, r.Namespace, r.Facts, r.Owner, r.Host)
	if empty := d.Field == FieldHost && v == ""; !joined.Known.Has(d.Field) && !empty {
		t.Errorf("set %v: the parts of the record do not know it", v)
	}
	text, err := json.Marshal(fieldsIn(&r))
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	var again Record
	if err := Set(d.Field, &again, back[d.Name]); err != nil || len(back) != 1 || !reflect.DeepEqual(fieldsIn(&again), fieldsIn(&r)) {
		t.Errorf("set %v, JSON %s: %v", v, text, err)
	}
}

// A record can be set from its own JSON.
func TestSetWhatJSONShows(t *testing.T) {
	r := aRecord()
	r.Owner.FDLimit, r.Socket.Info.BytesSent, r.Socket.Info.BytesReceived = 1024, 1<<40, 7
	r.Owner.Container, r.Owner.ContainerName = strings.Repeat("ab", 32), "web"
	r.Owner.ComposeService, r.Owner.Pod, r.Owner.Image = "front", "shop/web-0", "web:1"
	r.Owner.Exe, r.Owner.Cmdline, r.Facts.ListenerOwner = "/bin/web", "web -x", &Owner{Name: "server"}
	r.Facts.Owners[0] = *r.Owner
	r.Known = all()
	checkSetFrom(t, &r)
	for f := range fieldCount {
		r.Known = all().AndNot(Fields(f))
		checkSetFrom(t, &r)
		r.Known = Fields(f)
		checkSetFrom(t, &r)
	}
}

// fieldsIn returns the fields that JSON shows, without the rest.
func fieldsIn(r *Record) map[string]any {
	m := Map(r)
	delete(m, "owner_processes")
	return m
}

func all() (s FieldSet) {
	for f := range fieldCount {
		s.Add(Fields(f))
	}
	return s
}

func checkSetFrom(t *testing.T, r *Record) {
	t.Helper()
	want := fieldsIn(r)
	var got Record
	for f := range fieldCount {
		v, ok := want[f.String()]
		if !ok {
			continue
		}
		if err := Set(f, &got, v); err != nil {
			t.Errorf("of %v: %v", want, err)
			return
		}
	}
	if have := fieldsIn(&got); !reflect.DeepEqual(have, want) {
		t.Errorf("%v, not %v", have, want)
	}
}

// A value set in any order either stays as set or is refused.
func TestSetKeepsWhatItSet(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	refused := 0
	for range 3000 {
		var r Record
		want := map[Field]any{}
		for range 1 + random.IntN(12) {
			f := Field(random.IntN(int(fieldCount)))
			values := samples(f.Doc())
			v := values[random.IntN(len(values))]
			if err := Set(f, &r, v); err != nil {
				refused++
				break
			}
			want[f] = v
			for f, v := range want {
				if got, ok := Value(f, &r); !ok || got != v {
					t.Fatalf("%s is %v, not %v, in %v", f, got, v, want)
				}
			}
		}
	}
	if refused == 0 || refused == 3000 {
		t.Errorf("%d of 3000 were refused", refused)
	}
}

// A value that does not fit a field is an error that says so.
func TestSetRefuses(t *testing.T) {
	for _, c := range []struct {
		field Field
		value any
		want  string
	}{
		{FieldPort, 65536, "port: cannot be 65536"},
		{FieldPort, -1, "port: -1 (int) is not a port"},
		{FieldPort, 80.5, "port: cannot be 80.5"},
		{FieldPort, "80", "port: 80 (string) is not a port"},
		{FieldPort, math.NaN(), "port: NaN"},
		{FieldAge, math.Inf(1), "age: cannot be +Inf"},
		{FieldRTT, 1e9, "rtt: cannot be"},
		{FieldState, "close_wait", `state: unknown value "close_wait" (known: ESTABLISHED`},
		{FieldTimer, "", `timer: unknown value ""`},
		{FieldCookie, "xyz", "cookie: cannot be xyz"},
		{FieldMPTCPToken, "100000000", "mptcp_token: cannot be 100000000"},
		{FieldProcess, 7, "process: 7 (int) is not a string"},
		{FieldOwned, "yes", "owned: yes (string) is not a bool"},
		{FieldLocalAddr, "10.0.0.256", "local_addr: address"},
		{FieldLocalAddr, "fe80::1%eth0", "local_addr: an address without a zone is wanted"},
		{FieldLocalAddr, netip.Addr{}, "local_addr: an address"},
		{FieldLocalAddr, nil, "local_addr: an address"},
		{FieldOwners, 1 << 30, "owners: cannot be"},
		{fieldCount, 1, "no field field("},
	} {
		var r Record
		if err := Set(c.field, &r, c.value); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %v: %v, not %q", c.field, c.value, err, c.want)
		}
	}
}

// Where two fields are read from the same thing, the second may not undo the first.
func TestSetContradictions(t *testing.T) {
	type said struct {
		field Field
		value any
	}
	for _, c := range []struct {
		first, then said
		want        string // "" if they fit
	}{
		{said{FieldInode, 7}, said{FieldOwned, true}, ""},
		{said{FieldInode, 7}, said{FieldOwned, false}, "owned: cannot be false"},
		{said{FieldOwned, false}, said{FieldInode, 7}, "inode: with 7, owned would be true and not false"},
		{said{FieldState, "FIN_WAIT2"}, said{FieldOrphan, true}, ""},
		{said{FieldState, "FIN_WAIT2"}, said{FieldOrphan, false}, ""},
		{said{FieldState, "LISTEN"}, said{FieldOrphan, true}, "orphan: cannot be true"},
		{said{FieldOrphan, true}, said{FieldOwned, true}, "owned: with true, orphan would be false"},
		{said{FieldOrphan, true}, said{FieldState, "LISTEN"}, "state: with LISTEN, orphan would be false"},
		{said{FieldProtocol, "udp"}, said{FieldUnaccepted, true}, "unaccepted: cannot be true"},
		{said{FieldState, "CLOSE_WAIT"}, said{FieldEOFRead, true}, ""},
		{said{FieldRecvQueue, 5}, said{FieldEOFRead, true}, "eof_read: cannot be true"},
		{said{FieldFamily, "ipv6"}, said{FieldLocalAddr, "10.0.0.1"}, "local_addr: with 10.0.0.1, family would be ipv4"},
		{said{FieldFamily, "ipv6"}, said{FieldLocalAddr, "fd00::1"}, ""},
		{said{FieldIdle, 5}, said{FieldIdleRecv, 9}, ""},
		{said{FieldIdle, 5}, said{FieldIdleRecv, 3}, "idle_recv: with 3, idle would be 3"},
		{said{FieldOwners, 3}, said{FieldProcess, "web"}, ""},
		{said{FieldOwners, 0}, said{FieldProcess, "web"}, "process: with web, owners would be 1"},
		{said{FieldProcess, "web"}, said{FieldOwners, 0}, "owners: with 0, process would be "},
		{said{FieldProcess, "web"}, said{FieldOwners, 2}, ""},
	} {
		var r Record
		if err := Set(c.first.field, &r, c.first.value); err != nil {
			t.Errorf("%s: %v", c.first.field, err)
			continue
		}
		err := Set(c.then.field, &r, c.then.value)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v, then %s %v: %v, not %q", c.first.field, c.first.value, c.then.field, c.then.value, err, c.want)
		}
	}
}

// The groups match the costs.
func TestGroups(t *testing.T) {
	groups := map[Cost]FieldSet{}
	for _, d := range AllFields() {
		s := groups[d.Cost]
		s.Add(Fields(d.Field))
		groups[d.Cost] = s
	}
	for name, got := range map[string][2]FieldSet{
		"info":       {InfoFields(), groups[CostInfo].Or(groups[CostAge]).Or(groups[CostStall])},
		"stall":      {StallFields(), groups[CostStall]},
		"memory":     {MemoryFields(), groups[CostMemory]},
		"congestion": {CongestionFields(), groups[CostCongestion]},
		"age":        {AgeFields(), groups[CostAge]},
		"owner":      {OwnerFields(), groups[CostOwner].Or(groups[CostFDs]).Or(groups[CostCgroup]).Or(groups[CostContainer])},
		"container":  {ContainerFields(), groups[CostContainer]},
		"engine":     {EngineFields(), groups[CostContainer].Or(groups[CostPublished]).Or(groups[CostPeerContainer])},
		"peer":       {PeerFields(), groups[CostPeer].Or(groups[CostPeerContainer])},
		"listener":   {ListenerFields(), groups[CostListeners]},
		"interfaces": {InterfaceFields(), groups[CostInterfaces]},
	} {
		if got[0] != got[1] || got[0].Empty() {
			t.Errorf("the group %s is %s, not %s", name, got[0], got[1])
		}
	}
	// The groups also match the sources in the documentation.
	for _, d := range AllFields() {
		for group, says := range map[string]bool{"tcp_info": InfoFields().Has(d.Field), proc: OwnerFields().Has(d.Field)} {
			if strings.Contains(d.Source, group) && !says && d.Field != FieldListenerProcess {
				t.Errorf("%s comes from %s and does not cost it", d.Name, d.Source)
			}
		}
	}
}
