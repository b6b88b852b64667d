package sockdiag

import (
	"path/filepath"
	"testing"

	"sockwarden/collectors"
)

// recordings returns the content of all recordings.
func recordings(f *testing.F) (all [][]byte) {
	files, err := filepath.Glob("testdata/*.bin")
	if err != nil || len(files) == 0 {
		f.Fatalf("no recordings (%v)", err)
	}
	for _, name := range files {
		all = append(all, readRecording(f, name))
	}
	return all
}

// FuzzDecode feeds one record: whatever it contains, decoding ends, and every field that
// becomes known can be read.
func FuzzDecode(f *testing.F) {
	for _, b := range recordings(f) {
		d := datagrams{buf: b, n: len(b), seq: ne.Uint32(b[8:]), pid: ne.Uint32(b[12:])}
		for body, err := range d.messages {
			must(f, "message", err)
			f.Add(body)
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range everything.Protocols {
			var s collectors.Socket
			if err := decode(b, p, &s); err != nil {
				continue
			}
			checkDecoded(t, b, &s)
		}
	})
}

// FuzzDatagram feeds anything that one read from the kernel could return.
func FuzzDatagram(f *testing.F) {
	for _, b := range recordings(f) {
		f.Add(b, ne.Uint32(b[8:]), ne.Uint32(b[12:]))
	}
	f.Fuzz(func(t *testing.T, b []byte, seq, pid uint32) {
		d := datagrams{buf: b, n: len(b), seq: seq, pid: pid}
		read := 0
		for body, err := range d.messages {
			if err != nil {
				return
			}
			if read += nlHeaderLen + len(body); read > len(b) {
				t.Fatalf("%d bytes read of %d", read, len(b))
			}
			var s collectors.Socket
			if decode(body, collectors.TCP, &s) == nil {
				checkDecoded(t, body, &s)
			}
		}
	})
}

func checkDecoded(t *testing.T, b []byte, s *collectors.Socket) {
	t.Helper()
	if s.Family != collectors.IPv4 && s.Family != collectors.IPv6 {
		t.Errorf("family %d", s.Family)
	}
	if int(s.Info.Len) > len(b) {
		t.Errorf("tcp_info of %d bytes in %d", s.Info.Len, len(b))
	}
	if s.Inode == 0 && s.Known.Has(collectors.FieldUID) && !collectors.Unaccepted(s) {
		t.Error("the uid of nobody's socket is known")
	}
	if s.Known.Has(collectors.FieldIdle) && s.State == collectors.SynSent {
		t.Error("time stamps are known in SYN_SENT")
	}
	r := collectors.NewRecord(s, nil, nil, nil, "")
	_ = collectors.Map(&r)
	_ = collectors.KeyOf(s)
}
