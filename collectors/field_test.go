package collectors

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each field is declared once, in order, with everything that its documentation needs.
func TestFieldDocs(t *testing.T) {
	word := regexp.MustCompile(`^[a-z][a-z_]*[a-z]$`)
	seen := map[string]Field{}
	for i, d := range AllFields() {
		if d.Field != Field(i) {
			t.Fatalf("field %d is declared at %d", d.Field, i)
		}
		for what, text := range map[string]string{"name": d.Name, "source": d.Source, "meaning": d.Meaning, "unknown": d.Unknown} {
			if text == "" || strings.TrimSpace(text) != text || strings.ContainsAny(text, "\n\t") || strings.HasSuffix(text, ".") {
				t.Errorf("%s: %s is %q", d.Name, what, text)
			}
		}
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			if !word.MatchString(name) {
				t.Errorf("name %q", name)
			}
			if other, taken := seen[name]; taken {
				t.Errorf("%s is the name of %s and of %s", name, other, d.Name)
			}
			seen[name] = d.Field
			if f, ok := FieldByName(name); !ok || f != d.Field {
				t.Errorf("FieldByName(%s): %s, %t", name, f, ok)
			}
		}
		if d.Field.String() != d.Name || d.Field.Doc().Name != d.Name {
			t.Errorf("%s is called %s, %s", d.Name, d.Field, d.Field.Doc().Name)
		}
		if len(d.Values) > 0 && d.Type != TypeString {
			t.Errorf("%s of type %s has values", d.Name, d.Type)
		}
		if unique := slices.Compact(slices.Sorted(slices.Values(d.Values))); len(unique) != len(d.Values) || slices.Contains(d.Values, "") {
			t.Errorf("%s: values %q", d.Name, d.Values)
		}
		if (d.Type == TypeSeconds) != (d.Unit == "s") {
			t.Errorf("%s: %s in %q", d.Name, d.Type, d.Unit)
		}
	}
	for _, name := range []string{"", "STATE", "state ", "nothing", "local-port"} {
		if f, ok := FieldByName(name); ok {
			t.Errorf("FieldByName(%q): %s", name, f)
		}
	}
	if s := fieldCount.String(); s == "" || seen[s] != 0 {
		t.Errorf("no field is called %q", s)
	}
	if fieldCount > setBits {
		t.Errorf("%d fields do not fit a FieldSet", fieldCount)
	}
}

// aRecord fills every member.
func aRecord() Record {
	o := Owner{PID: 7, Age: 5.5, FDs: 3, FDLimit: math.MaxUint64, Comm: "web", Name: "web", User: "www", Cgroup: "/a", Unit: "a.service"}
	return NewRecord(
		&Socket{
			Cookie: 0xabc, Inode: 5, UID: 33, IfIndex: 2, State: CloseWait, Protocol: TCP, Family: IPv6, LocalPort: 80, RemotePort: 9, Timer: 9,
			Local: AddrFrom(netip.MustParseAddr("10.0.0.1")), Remote: AddrFrom(netip.MustParseAddr("10.0.0.2")), Info: TCPInfo{BytesSent: math.MaxUint64},
		},
		&Namespace{Name: "blue", Interfaces: map[uint32]string{2: "eth0"}, PortLow: 1, PortHigh: 2},
		&Facts{Age: Age{Min: 1, Max: 2, Bounded: true, Source: AgeTCPInfo}, Owners: []Owner{o, {PID: 8, Name: "other"}}, Direction: "inbound"},
		&o, "here")
}

// Records with and without their parts, whatever they say is known: reading a field does
// not panic, returns its type, and the value can be written as JSON.
func TestAnySubsetIsReadable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	known := []FieldSet{{}, everyBit}
	for f := range Field(setBits) {
		known = append(known, Fields(f), everyBit.AndNot(Fields(f)))
	}
	for range 500 {
		known = append(known, FieldSet{random.Uint64(), random.Uint64()})
	}
	full := aRecord()
	for _, k := range known {
		for parts := range 8 {
			r := Record{Known: k, Socket: full.Socket}
			if parts&1 != 0 {
				r.Namespace, r.Host = full.Namespace, full.Host
			}
			if parts&2 != 0 {
				r.Facts = full.Facts
			}
			if parts&4 != 0 {
				r.Owner = full.Owner
			}
			checkReadable(t, &r)
		}
		checkReadable(t, &Record{Known: k, Socket: &Socket{}})
	}
}

func checkReadable(t *testing.T, r *Record) {
	t.Helper()
	m := Map(r)
	for f := range Field(setBits) {
		v, ok := Value(f, r)
		if ok != (f < fieldCount && r.Known.Has(f)) {
			t.Fatalf("%s is known: %t", f, ok)
		}
		if _, there := m[f.String()]; there != ok {
			t.Fatalf("%s is in the map: %t", f, there)
		}
		if !ok {
			continue
		}
		fits := false
		switch v := v.(type) {
		case bool:
			fits = f.Doc().Type == TypeBool
		case float64:
			fits = f.Doc().Num != nil && !math.IsNaN(v) && !math.IsInf(v, 0) && v >= 0
		case string:
			fits = f.Doc().Type == TypeString
			if values := f.Doc().Values; v != "" && len(values) > 0 && !slices.Contains(values, v) && r.Socket.State != 0 {
				t.Fatalf("%s is %q, not one of %q", f, v, values)
			}
		case netip.Addr:
			fits = f.Doc().Type == TypeAddr && v.IsValid()
		}
		if !fits {
			t.Fatalf("%s of type %s is %v", f, f.Doc().Type, v)
		}
	}
	if _, err := json.Marshal(m); err != nil {
		t.Fatal(err)
	}
}

func TestMap(t *testing.T) {
	r := aRecord()
	r.Known = everyBit
	m := Map(&r)
	for name, want := range map[string]any{
		"protocol": "tcp", "family": "ipv4", "state": "CLOSE_WAIT", "port": int64(80), "local_addr": netip.MustParseAddr("10.0.0.1"),
		"interface": "eth0", "netns": "blue", "host": "here", "cookie": "abc", "age": int64(1), "age_source": "tcp_info", "eof_read": true,
		"timer": "none", "owners": int64(2), "pid": int64(7), "process_age": 5.5, "owned": true, "direction": "inbound", "container": "",
	} {
		if m[name] != want {
			t.Errorf("%s is %v, not %v", name, m[name], want)
		}
	}
	all, ok := m["owner_processes"].([]map[string]any)
	if !ok || len(all) != 2 || all[1]["pid"] != 8 || all[1]["process"] != "other" {
		t.Errorf("owner_processes: %v", m["owner_processes"])
	}
	r.Facts.Owners = r.Facts.Owners[:1]
	if all, there := Map(&r)["owner_processes"]; there {
		t.Errorf("owner_processes of one owner: %v", all)
	}
}

// A record knows what its parts know.
func TestNewRecord(t *testing.T) {
	ns := &Namespace{Name: "blue", Interfaces: map[uint32]string{2: "eth0"}}
	for name, c := range map[string]struct {
		s    Socket
		ns   *Namespace
		f    *Facts
		o    *Owner
		host string
		want FieldSet
	}{
		"nothing":              {},
		"socket":               {s: Socket{Known: Fields(FieldPort)}, want: Fields(FieldPort)},
		"not bound":            {ns: ns, want: Fields(FieldNetNS, FieldInterface)},
		"bound":                {s: Socket{IfIndex: 2}, ns: ns, want: Fields(FieldNetNS, FieldInterface)},
		"interface is gone":    {s: Socket{IfIndex: 3}, ns: ns, want: Fields(FieldNetNS)},
		"interface not shown":  {s: Socket{IfIndex: UnknownIfIndex}, ns: ns, want: Fields(FieldNetNS)},
		"names are not looked": {ns: &Namespace{}, want: Fields(FieldNetNS, FieldInterface)},
		"host":                 {host: "here", want: Fields(FieldHost)},
		"facts and owner":      {f: &Facts{Known: Fields(FieldAge)}, o: &Owner{Known: Fields(FieldPID)}, want: Fields(FieldAge, FieldPID)},
	} {
		r := NewRecord(&c.s, c.ns, c.f, c.o, c.host)
		if r.Known != c.want {
			t.Errorf("%s: known %s, not %s", name, r.Known, c.want)
		}
	}
}

// The family is the one that the connection speaks.
func TestFamily(t *testing.T) {
	addr := func(s string) Addr { return AddrFrom(netip.MustParseAddr(s)) }
	for _, c := range []struct {
		s    Socket
		want string
	}{
		{Socket{Family: IPv4, Local: addr("10.0.0.1"), Remote: addr("10.0.0.2"), RemotePort: 1}, "ipv4"},
		{Socket{Family: IPv4, Local: addr("0.0.0.0"), Remote: addr("0.0.0.0")}, "ipv4"},
		{Socket{Family: IPv6, Local: addr("::ffff:10.0.0.1"), Remote: addr("::ffff:10.0.0.2"), RemotePort: 1}, "ipv4"},
		{Socket{Family: IPv6, Local: addr("::ffff:10.0.0.1"), Remote: addr("::")}, "ipv4"}, // listens on a mapped address
		{Socket{Family: IPv6, Local: addr("::"), Remote: addr("::")}, "ipv6"},
		{Socket{Family: IPv6, Local: addr("fd00::1"), Remote: addr("fd00::2"), RemotePort: 1}, "ipv6"},
	} {
		c.s.Known = Fields(FieldFamily)
		r := NewRecord(&c.s, nil, nil, nil, "")
		if v, _ := Value(FieldFamily, &r); v != c.want {
			t.Errorf("%v %v: %v, not %s", c.s.Local.Netip(), c.s.Remote.Netip(), v, c.want)
		}
	}
}
