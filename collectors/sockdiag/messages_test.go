package sockdiag

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

func message(typ uint16, seq, pid uint32, body []byte) []byte {
	b := ne.AppendUint32(nil, uint32(nlHeaderLen+len(body)))
	b = ne.AppendUint16(b, typ)
	b = ne.AppendUint16(b, 2) // NLM_F_MULTI
	b = ne.AppendUint32(ne.AppendUint32(b, seq), pid)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...)
}

func errnoBody(e unix.Errno) []byte {
	return ne.AppendUint32(nil, uint32(-int32(e)))
}

// The content of a datagram, message by message.
func TestMessages(t *testing.T) {
	rec := make([]byte, msgLen)
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for name, tt := range map[string]struct {
		datagram []byte
		records  int
		done     bool
		err      error // nil for none
		broken   bool  // some other error
	}{
		"empty":               {},
		"records":             {datagram: join(message(20, 1, 2, rec), message(20, 1, 2, rec)), records: 2},
		"end":                 {datagram: join(message(20, 1, 2, rec), message(unix.NLMSG_DONE, 1, 2, errnoBody(0))), records: 1, done: true},
		"end without errno":   {datagram: message(unix.NLMSG_DONE, 1, 2, nil), done: true},
		"nothing after end":   {datagram: join(message(unix.NLMSG_DONE, 1, 2, errnoBody(0)), message(20, 1, 2, rec)), done: true},
		"end with ENOENT":     {datagram: message(unix.NLMSG_DONE, 1, 2, errnoBody(unix.ENOENT)), done: true, err: collectors.ErrNotSupported},
		"end with EOPNOTSUPP": {datagram: message(unix.NLMSG_DONE, 1, 2, errnoBody(unix.EOPNOTSUPP)), done: true, err: collectors.ErrNotSupported},
		"error EPERM":         {datagram: message(unix.NLMSG_ERROR, 1, 2, errnoBody(unix.EPERM)), done: true, err: collectors.ErrNotPermitted},
		"error EBUSY":         {datagram: message(unix.NLMSG_ERROR, 1, 2, errnoBody(unix.EBUSY)), done: true, err: unix.EBUSY},
		"other sequence":      {datagram: join(message(20, 9, 2, rec), message(20, 1, 2, rec)), records: 1},
		"other receiver":      {datagram: join(message(unix.NLMSG_DONE, 1, 9, nil), message(20, 1, 2, rec)), records: 1},
		"other type":          {datagram: join(message(unix.NLMSG_NOOP, 1, 2, rec), message(20, 1, 2, rec)), records: 1},
		"cut":                 {datagram: join(message(20, 1, 2, rec), message(20, 1, 2, rec)[:50]), records: 1, broken: true},
		"cut in a header":     {datagram: join(message(20, 1, 2, rec), message(20, 1, 2, rec)[:10]), records: 1, broken: true},
		"short length":        {datagram: join([]byte{15, 0, 0, 0}, make([]byte, 40)), broken: true},
		"negative length":     {datagram: join([]byte{0xff, 0xff, 0xff, 0xff}, make([]byte, 40)), broken: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := datagrams{buf: tt.datagram, n: len(tt.datagram), seq: 1, pid: 2}
			records, last := 0, error(nil)
			for body, err := range d.messages {
				if last = err; err == nil && len(body) == msgLen {
					records++
				}
			}
			if records != tt.records || d.done != tt.done {
				t.Errorf("%d records, end %t", records, d.done)
			}
			if tt.err != nil && !errors.Is(last, tt.err) || (last != nil) != (tt.err != nil || tt.broken) {
				t.Errorf("error %v", last)
			}
		})
	}
}
