package recording

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"sockwarden/collectors"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

// head is a first line.
const head = `{"recording":1,"host":"h","kernel":"6.1.0","time":"2026-11-26T12:00:00Z","mono":5,"partial":false,"namespaces":[{"name":"host","inode":1,"recorded":true}]}`

// TestReadErrors checks that each fault is named, with its line.
func TestReadErrors(t *testing.T) {
	for want, lines := range map[string][]string{
		"is empty":                  {},
		"is no recording":           {`{"version":1}`, `{"end":true}`},
		"format 7":                  {`{"recording":7}`},
		"line 1: no kernel":         {strings.Replace(head, "6.1.0", "six", 1)},
		"line 1: time, mono":        {strings.Replace(head, `"mono":5`, `"mono":-5`, 1)},
		"of its own":                {strings.Replace(head, `"name":"host"`, `"name":""`, 1)},
		"the recording is cut off":  {head},
		"line 3: there is more":     {head, `{"end":true}`, `{"end":true}`},
		"line 2: is no JSON":        {head, `{"protocol":`},
		"line 2: no protocol":       {head, `{"protocol":"sctp","netns":"host"}`},
		"line 2: network namespace": {head, `{"protocol":"tcp","state":"LISTEN","family":"ipv4"}`},
		"line 2: no state":          {head, `{"protocol":"tcp","netns":"host","state":"NO","family":"ipv4"}`},
		"line 2: no family":         {head, `{"protocol":"tcp","netns":"host","state":"LISTEN","family":"ipx"}`},
		"line 2: no timer":          {head, `{"protocol":"tcp","netns":"host","state":"LISTEN","family":"ipv4","timer":"egg"}`},
		"line 2: port: cannot be":   {head, `{"protocol":"tcp","port":70000}`},
		"line 2: process 5 is in":   {head, `{"protocol":"tcp","netns":"host","state":"LISTEN","family":"ipv4","owners":[{"pid":5}]}`},
		"line 2: no line before":    {head, `{"protocol":"tcp","netns":"host","state":"LISTEN","family":"ipv4","known":9}`},
		"line 3: process 5: twice":  {head, `{"process":{"pid":5}}`, `{"process":{"pid":5}}`},
		"line 2: longer than":       {head, `{"x":"` + strings.Repeat("x", maxLine) + `"}`},
	} {
		text := strings.Join(lines, "\n")
		if len(lines) > 0 {
			text += "\n"
		}
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestReadCutOff: what is compressed, and ends anywhere, is cut off.
func TestReadCutOff(t *testing.T) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(z, head+"\n{\"end\":true}\n"); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAny(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	for n := len(zstdMagic); n < b.Len(); n++ {
		if _, err := ReadAny(bytes.NewReader(b.Bytes()[:n])); !errors.Is(err, errCutOff) {
			t.Errorf("%d of %d bytes: %v", n, b.Len(), err)
		}
	}
}

// TestRoundTrip writes a recording with a value in every member, and reads it back.
func TestRoundTrip(t *testing.T) {
	all := collectors.FieldSet{}
	for _, d := range collectors.AllFields() {
		all.Add(collectors.Fields(d.Field))
	}
	r, err := Read(strings.NewReader(head + "\n" + `{"end":true}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	r.Version, r.Cmdline = Version, true
	ns := &r.Namespaces[0]
	ns.Addresses, ns.Interfaces, ns.PortLow, ns.Sure = []string{"192.0.2.1", "fe80::1%3"}, map[uint32]string{3: "eth0"}, 1024, true
	r.Processes = []Process{{Owner: collectors.Owner{
		Known: all, PID: 5, StartTime: 6, Age: 7.25, UID: 8, FDs: 9, FDLimit: 1<<64 - 1, Comm: "c", Name: "name", Exe: "/e", Cmdline: "e -x", User: "u",
		Cgroup: "/g", Unit: "u.service", Container: strings.Repeat("a", 64), LeadsTo: "docker:x", Kernel: true, Told: true,
	}, Login: true, Elsewhere: []Elsewhere{{Inode: 1, NetNS: 2, Cookie: 3, State: "LISTEN", Queued: 4}}, NotExamined: "why"}}
	r.Wholes = []Whole{{Of: 0, Members: []int{0}, Err: "why"}}
	r.Containers = map[string]world.Container{"/g": {
		ContainerNames: collectors.ContainerNames{Engine: "docker", ContainerName: "c", ComposeService: "s", Pod: "n/p", Image: "i", ContainerLabels: map[string]string{"a": "b"}},
		Known:          all, Absent: true, PortsKnown: true, Ports: []collectors.Proxy{{Protocol: collectors.UDP}},
	}}
	for i, addr := range []collectors.Addr{{}, {15: 1}, {10: 255, 11: 255}, {10: 255, 11: 255, 12: 127, 15: 1}, {0: 0x20, 1: 1, 15: 9}} {
		s := collectors.Socket{
			Known: all, Cookie: 0xfffffffffffffff0 + uint64(i), NetNS: 9, CgroupID: 10, Local: addr, Remote: addr, Inode: 11, UID: 12, IfIndex: collectors.UnknownIfIndex,
			TimerExpires: 13, RecvQueue: 14, SendQueue: 15, SendBuffer: 16, Drops: 17, Mark: 18, Token: 19, LocalPort: 20, RemotePort: 21,
			Protocol: collectors.Protocols()[i%3], Family: collectors.IPv6, State: collectors.State(i + 1), Timer: collectors.Timer(i), Retransmits: 22, V6Only: true,
			Options: collectors.SockOptions{Shown: true, FreeBind: i%2 == 0, Transparent: true}, Subflow: true,
			Info: collectors.TCPInfo{
				Len: 1, Backoff: 2, Retransmits: 3, RTO: 4, RTT: 5, Unacked: 6, Lost: 7, LastDataSent: 8, LastDataRecv: 9, LastAckRecv: 10, BytesSent: 11, BytesAcked: 12,
				BytesReceived: 13, BusyTime: 14, SegsIn: 15, SegsOut: 16, NotSent: 17, RTOTime: 18, TotalRTO: 19, Options: 20, WindowScales: 21,
			},
		}
		if addr.IsIPv4() && i == 2 {
			s.Family = collectors.IPv4
		}
		copy(s.Congestion[:], "cubic")
		r.Sockets = append(r.Sockets, Socket{Socket: s, Holders: []Holder{{0, 3}}, AllHolders: true, Cgroup: "/g", Since: 2.5, Beside: true})
	}
	r.Memory = memory.StateDoc{
		Format: memory.StateFormat, Seen: []memory.SeenDoc{{Key: collectors.KeyOf(&r.Sockets[0].Socket), Since: 1, Last: 2}},
		Holds:     []memory.HoldDoc{{Rule: "r", Fingerprint: "f", Key: collectors.KeyOf(&r.Sockets[1].Socket), Since: 1, Last: 2}},
		Cooldowns: map[string]memory.Cooldown{"k": {At: 1, Until: 2}}, Acts: map[string][]float64{"r": {1}}, Tripped: map[string]int{"b": 1},
	}
	for _, compress := range []bool{false, true} {
		var file bytes.Buffer
		if err := WriteAny(&file, r, compress); err != nil {
			t.Fatal(err)
		}
		back, err := ReadAny(&file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, back, cmp.AllowUnexported(collectors.FieldSet{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Errorf("compressed %v:\n%s", compress, d)
		}
	}
}

// TestCreate checks that a file is nobody else's, and replaces none.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	r, err := Read(strings.NewReader(head + "\n" + `{"end":true}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "r.jsonl")
	f, err := Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Keep(r); err != nil {
		t.Fatal(err)
	}
	f.Drop() // what is kept stays
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := Create(path, false); !errors.Is(err, ErrExists) {
		t.Errorf("over a file: %v", err)
	}
	target := filepath.Join(dir, "target")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(link, false); !errors.Is(err, ErrExists) {
		t.Errorf("over a link: %v", err)
	}
	f, err = Create(link, true)
	if err != nil {
		t.Fatal(err)
	}
	f.Drop()
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("the target of a link was made")
	}
}

// FuzzRead checks that any bytes give a recording or an error, and that what is read is
// written and read again as the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte(head + "\n" + `{"fields":{"id":1,"fields":["state"]}}` + "\n" + `{"process":{"pid":5,"start_time":1}}` + "\n" +
		`{"protocol":"tcp","netns":"host","state":"LISTEN","family":"ipv4","known":1,"owners":[{"pid":5,"start_time":1}],"tcp_info":{"len":3}}` + "\n" +
		`{"cooldown":{"key":"k","at":1,"until":2}}` + "\n" + `{"container":{"cgroup":"/x"}}` + "\n" + `{"whole":{"of":{"pid":5,"start_time":1}}}` + "\n" + `{"end":true}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadAny(bytes.NewReader(b))
		if err != nil {
			return
		}
		w := r.World()
		door := w.Door()
		w.Remembered()
		if _, err := door.Namespaces.Every(); err == nil && r.Partial {
			t.Error("a selection knows everything")
		}
		var file, again bytes.Buffer
		if err := r.Write(&file); err != nil {
			t.Fatal(err)
		}
		back, err := Read(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatalf("%v\n%s", err, &file)
		}
		if err := back.Write(&again); err != nil || !bytes.Equal(file.Bytes(), again.Bytes()) {
			t.Fatalf("%v\n%s\n%s", err, &file, &again)
		}
	})
}
