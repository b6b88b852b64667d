package sockdiag

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/socklab"
)

var update = flag.Bool("update", false, "record testdata from this kernel, and rewrite what is expected of it")

// A recording is the datagrams of one dump, one behind the other, as this
// kernel sent them: linux-RELEASE-PROTOCOL-FAMILY.bin. Next to it is what they
// mean, one object for each record.

// TestRecorded decodes what kernels have sent.
func TestRecorded(t *testing.T) {
	if *update {
		record(t)
	}
	files, err := filepath.Glob("testdata/*.bin")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings (%v)", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			golden := strings.TrimSuffix(name, ".bin") + ".json"
			got := decodeRecording(t, name)
			if *update {
				must(t, "write", os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			must(t, "read", err)
			if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); d != "" {
				t.Errorf("decoded otherwise than %s (-want +got):\n%s", golden, d)
			}
		})
	}
}

// A record from the kernel can be set again from the JSON that shows it.
func TestRecordedCanBeSet(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings (%v)", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		must(t, "read", err)
		var all []map[string]any
		must(t, name, json.Unmarshal(b, &all))
		for i, shown := range all {
			maps.DeleteFunc(shown, func(key string, _ any) bool { return strings.HasPrefix(key, "_") })
			var r collectors.Record
			for _, d := range collectors.AllFields() {
				if v, ok := shown[d.Name]; ok {
					must(t, fmt.Sprintf("%s, record %d", name, i), collectors.Set(d.Field, &r, v))
				}
			}
			again, err := json.Marshal(collectors.Map(&r))
			must(t, "encode", err)
			want, err := json.Marshal(shown)
			must(t, "encode", err)
			if string(again) != string(want) {
				t.Errorf("%s, record %d: %s, not %s", name, i, again, want)
			}
		}
	}
}

// decodeRecording returns JSON with all known fields of each record, including what only
// the collector knows.
func decodeRecording(t testing.TB, name string) []byte {
	t.Helper()
	var all []map[string]any
	for s, err := range decodeAll(readRecording(t, name), protocolOf(name)) {
		must(t, name, err)
		r := collectors.NewRecord(s, nil, nil, nil, "")
		m := collectors.Map(&r)
		m["_cgroup_id"], m["_subflow"], m["_interface"], m["_info_len"] = s.CgroupID, s.Subflow, s.IfIndex, s.Info.Len
		m["_retransmits"], m["_busy_time_us"] = s.Info.Retransmits, s.Info.BusyTime
		m["_segs_in"], m["_segs_out"], m["_total_rto"], m["_rto_time_ms"] = s.Info.SegsIn, s.Info.SegsOut, s.Info.TotalRTO, s.Info.RTOTime
		m["_options"], m["_window_scales"] = s.Info.Options, s.Info.WindowScales
		all = append(all, m)
	}
	b, err := json.MarshalIndent(all, "", "  ")
	must(t, name, err)
	return append(b, '\n')
}

func readRecording(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, "read", err)
	return b
}

func protocolOf(name string) collectors.Protocol {
	if strings.Contains(name, "-udp-") {
		return collectors.UDP
	}
	return collectors.TCP
}

// decodeAll goes through datagrams as a dump does. The first message names the recipient.
func decodeAll(b []byte, p collectors.Protocol) func(yield func(*collectors.Socket, error) bool) {
	return func(yield func(*collectors.Socket, error) bool) {
		d := datagrams{buf: b, n: len(b)}
		if len(b) >= nlHeaderLen {
			d.seq, d.pid = ne.Uint32(b[8:]), ne.Uint32(b[12:])
		}
		s := new(collectors.Socket)
		for body, err := range d.messages {
			if err == nil {
				err = decode(body, p, s)
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// record makes a socket of every kind and writes down what the kernel says.
func record(t *testing.T) {
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			socklab.Make(t, k, f)
		}
	}
	kernel, err := host.RunningKernel()
	must(t, "uname", err)
	for _, p := range everything.Protocols {
		for _, f := range []collectors.Family{collectors.IPv4, collectors.IPv6} {
			family := map[collectors.Family]string{collectors.IPv4: "v4", collectors.IPv6: "v6"}[f]
			name := fmt.Sprintf("testdata/linux-%d.%d-%s-%s.bin", kernel.Major, kernel.Minor, p, family)
			must(t, "write", os.WriteFile(name, recordDump(t, f, p), 0o644))
		}
	}
}

func recordDump(t *testing.T, f collectors.Family, p collectors.Protocol) []byte {
	c := dialTest(t, -1)
	sent, err := c.nl.Send(netlink.Message{
		Header: netlink.Header{Type: typeByFamily, Flags: netlink.Request | netlink.Dump},
		Data:   dumpRequest(f, p, collectors.AllStates, extensionsFor(collectors.InfoFields(), p), nil),
	})
	must(t, "send", err)
	d := datagrams{seq: sent.Header.Sequence, pid: c.nl.PID(), buf: make([]byte, bufLen)}
	d.raw, err = c.nl.SyscallConn()
	must(t, "raw", err)
	var all []byte
	for !d.done {
		must(t, "read", d.next(t.Context()))
		all = append(all, d.buf[:d.n]...)
		for _, err := range d.messages {
			must(t, "message", err)
		}
	}
	return all
}
