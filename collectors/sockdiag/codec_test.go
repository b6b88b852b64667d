package sockdiag

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// aRecord returns the body of a recorded message with that state and a complete tcp_info.
func aRecord(t testing.TB, state collectors.State) []byte {
	t.Helper()
	b := readRecording(t, "testdata/linux-6.18-tcp-v4.bin")
	d := datagrams{buf: b, n: len(b), seq: ne.Uint32(b[8:]), pid: ne.Uint32(b[12:])}
	for body, err := range d.messages {
		must(t, "message", err)
		if body[1] == byte(state) && len(body) > 300 {
			return slices.Clone(body)
		}
	}
	t.Fatalf("no %s in the recording", state)
	return nil
}

func attr(typ uint16, value []byte) []byte {
	b := ne.AppendUint16(nil, uint16(4+len(value)))
	b = append(ne.AppendUint16(b, typ), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func tcpInfoOf(t testing.TB, body []byte) []byte {
	t.Helper()
	for typ, value := range attrs(body[msgLen:]) {
		if typ == attrInfo {
			return value
		}
	}
	t.Fatal("no tcp_info")
	return nil
}

// Older kernels have a shorter tcp_info, newer ones a longer: a field is known once the
// structure reaches its end.
func TestInfoLengths(t *testing.T) {
	body := aRecord(t, collectors.CloseWait)
	info := tcpInfoOf(t, body)
	stamps := collectors.Fields(collectors.FieldIdle, collectors.FieldRTT, collectors.FieldRTO)
	for n, want := range map[int]collectors.FieldSet{
		0: {}, 4: {}, 71: {},
		72: stamps, 104: stamps, 135: stamps,
		136: stamps.Or(collectors.Fields(collectors.FieldBytesReceived)),
		160: stamps.Or(collectors.Fields(collectors.FieldBytesReceived)),
		176: stamps.Or(collectors.Fields(collectors.FieldBytesReceived)),
		207: stamps.Or(collectors.Fields(collectors.FieldBytesReceived)),
		208: stamps.Or(collectors.Fields(collectors.FieldBytesReceived, collectors.FieldBytesSent)),
		280: stamps.Or(collectors.Fields(collectors.FieldBytesReceived, collectors.FieldBytesSent)),
		400: stamps.Or(collectors.Fields(collectors.FieldBytesReceived, collectors.FieldBytesSent)),
	} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			longer := append(slices.Clone(info), make([]byte, 400)...)
			var full, s collectors.Socket
			must(t, "decode", decode(body, collectors.TCP, &full))
			must(t, "decode", decode(append(slices.Clone(body[:msgLen]), attr(attrInfo, longer[:n])...), collectors.TCP, &s))
			all := stamps.Or(collectors.Fields(collectors.FieldBytesReceived, collectors.FieldBytesSent))
			if got := s.Known.And(all); got != want {
				t.Errorf("known %s, not %s", got, want)
			}
			if want.Empty() {
				full.Info = collectors.TCPInfo{}
			}
			full.Info.Len = s.Info.Len
			if n < 208 {
				full.Info.BytesSent = 0
			}
			if n < 176 {
				full.Info.BusyTime = 0
			}
			if n < 148 {
				full.Info.NotSent = 0
			}
			if n < 144 {
				full.Info.SegsIn, full.Info.SegsOut = 0, 0
			}
			if n < 136 {
				full.Info.BytesReceived = 0
			}
			if n < 128 {
				full.Info.BytesAcked = 0
			}
			if s.Info != full.Info || (!want.Empty() && int(s.Info.Len) != n) {
				t.Errorf("tcp_info %+v, not %+v", s.Info, full.Info)
			}
		})
	}
}

func TestDecodeBroken(t *testing.T) {
	body := aRecord(t, collectors.CloseWait)
	var s collectors.Socket
	for n := range msgLen {
		if err := decode(body[:n], collectors.TCP, &s); !errors.Is(err, errShort) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	other := slices.Clone(body)
	other[0] = unix.AF_UNIX
	if err := decode(other, collectors.TCP, &s); err == nil {
		t.Error("a family that is not IP was decoded")
	}
	for name, tail := range map[string][]byte{
		"too long":   {100, 0, attrInfo, 0},
		"too short":  {3, 0, attrInfo, 0},
		"zero":       {0, 0, attrInfo, 0},
		"after some": append(attr(attrCgroupID, make([]byte, 8)), 9, 0, 0, 0),
	} {
		if err := decode(append(slices.Clone(body[:msgLen]), tail...), collectors.TCP, &s); err == nil {
			t.Errorf("attribute %s: no error", name)
		}
	}
	for name, tail := range map[string][]byte{
		"unknown":          attr(999, make([]byte, 5)),
		"flags in type":    attr(0x8000|attrCgroupID, ne.AppendUint64(nil, 7)),
		"short cgroup":     attr(attrCgroupID, make([]byte, 4)),
		"unpadded last":    {5, 0, 1, 0, 9},
		"stray three":      {1, 2, 3},
		"ULP without kind": attr(attrULPInfo, nil),
	} {
		if err := decode(append(slices.Clone(body[:msgLen]), tail...), collectors.TCP, &s); err != nil {
			t.Errorf("attribute %s: %v", name, err)
		}
		if want := uint64(7); name == "flags in type" && s.CgroupID != want {
			t.Errorf("cgroup id %d, not %d", s.CgroupID, want)
		}
	}
}

// The nested attributes tell a subflow of MPTCP from another upper layer protocol.
func TestDecodeULP(t *testing.T) {
	body := aRecord(t, collectors.Established)[:msgLen]
	name := attr(1, []byte("mptcp\x00"))
	for subflow, nested := range map[bool][]byte{
		true:  append(slices.Clone(name), attr(0x8000|ulpInfoMPTCP, make([]byte, 8))...),
		false: append(attr(1, []byte("tls\x00")), attr(0x8000|2, make([]byte, 8))...),
	} {
		var s collectors.Socket
		must(t, "decode", decode(append(slices.Clone(body), attr(0x8000|attrULPInfo, nested)...), collectors.TCP, &s))
		if s.Subflow != subflow {
			t.Errorf("subflow is %t, not %t", s.Subflow, subflow)
		}
	}
}

func TestBoundInactive(t *testing.T) {
	body := slices.Clone(aRecord(t, collectors.Established)[:msgLen])
	body[1] = byte(collectors.BoundInactive)
	var s collectors.Socket
	must(t, "decode", decode(body, collectors.TCP, &s))
	if s.State != collectors.Close {
		t.Errorf("state %s", s.State)
	}
}
