package recording

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sockwarden/collectors"
)

// hexNumber is a number as JSON shows cookies and tokens: in hexadecimal digits.
type hexNumber uint64

// MarshalJSON writes a string.
func (n hexNumber) MarshalJSON() ([]byte, error) {
	return append(strconv.AppendUint([]byte{'"'}, uint64(n), 16), '"'), nil
}

// UnmarshalJSON reads a string.
func (n *hexNumber) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(text) < 2 || text[0] != '"' {
		return errors.New("a string of hexadecimal digits is wanted")
	}
	v, err := strconv.ParseUint(text[1:len(text)-1], 16, 64)
	if err != nil {
		return fmt.Errorf("%s is no hexadecimal number", text)
	}
	*n = hexNumber(v)
	return nil
}

// optionNames are the socket options in a line, in this order.
var optionNames = []string{"shown", "freebind", "transparent"}

func optionsText(o collectors.SockOptions) string {
	var names []string
	for i, on := range []bool{o.Shown, o.FreeBind, o.Transparent} {
		if on {
			names = append(names, optionNames[i])
		}
	}
	return strings.Join(names, ",")
}

func optionsOf(text string) (o collectors.SockOptions) {
	for i, on := range []*bool{&o.Shown, &o.FreeBind, &o.Transparent} {
		*on = strings.Contains(text, optionNames[i])
	}
	return o
}

// docOf is the line of a socket, without what depends on the rest of the recording.
func docOf(s *collectors.Socket, namespace uint64) socketDoc {
	r := collectors.NewRecord(s, nil, nil, nil, "")
	d := socketDoc{
		Protocol: s.Protocol.String(), Family: collectors.FieldFamily.Doc().Str(&r), State: s.State.String(),
		Local: s.Local, Port: s.LocalPort, Remote: s.Remote, RemotePort: s.RemotePort, Cookie: hexNumber(s.Cookie), Inode: s.Inode,
		UID: s.UID, IfIndex: s.IfIndex, CgroupID: s.CgroupID, RecvQueue: s.RecvQueue, SendQueue: s.SendQueue, SendBuffer: s.SendBuffer,
		Drops: s.Drops, Mark: s.Mark, Congestion: s.Congestion.String(), Token: hexNumber(s.Token), Subflow: s.Subflow, V6Only: s.V6Only,
		Options: optionsText(s.Options), ExpiresMS: s.TimerExpires, Retrans: s.Retransmits,
	}
	d.Mapped = d.Family == "ipv4" && s.Family == collectors.IPv6
	if s.Timer != collectors.TimerNone {
		d.Timer = s.Timer.String()
	}
	if s.NetNS != namespace {
		d.NetNSID = s.NetNS
	}
	if s.Info != (collectors.TCPInfo{}) {
		info := infoDoc(s.Info)
		d.Info = &info
	}
	return d
}

// socket is the socket of a line.
func (d *socketDoc) socket(namespace uint64) (s collectors.Socket, err error) {
	var ok bool
	if s.Protocol, ok = collectors.ProtocolNamed(d.Protocol); !ok {
		return s, fmt.Errorf("no protocol %q", short(d.Protocol))
	}
	if s.State, ok = collectors.ParseState(d.State); !ok {
		return s, fmt.Errorf("no state %q", short(d.State))
	}
	if s.Timer, ok = timerNamed(d.Timer); !ok {
		return s, fmt.Errorf("no timer %q", short(d.Timer))
	}
	switch {
	case d.Family == "ipv4" && !d.Mapped:
		s.Family = collectors.IPv4
	case d.Family == "ipv4", d.Family == "ipv6":
		s.Family = collectors.IPv6
	default:
		return s, fmt.Errorf("no family %q", short(d.Family))
	}
	if len(d.Congestion) > len(s.Congestion) {
		return s, fmt.Errorf("no congestion control %q", short(d.Congestion))
	}
	copy(s.Congestion[:], d.Congestion)
	s.Local, s.LocalPort, s.Remote, s.RemotePort = d.Local, d.Port, d.Remote, d.RemotePort
	s.Cookie, s.Inode, s.UID, s.IfIndex, s.CgroupID = uint64(d.Cookie), d.Inode, d.UID, d.IfIndex, d.CgroupID
	s.RecvQueue, s.SendQueue, s.SendBuffer, s.Drops, s.Mark = d.RecvQueue, d.SendQueue, d.SendBuffer, d.Drops, d.Mark
	s.Token, s.Subflow, s.V6Only, s.Options = uint32(d.Token), d.Subflow, d.V6Only, optionsOf(d.Options)
	s.TimerExpires, s.Retransmits = d.ExpiresMS, d.Retrans
	if s.NetNS = d.NetNSID; s.NetNS == 0 {
		s.NetNS = namespace
	}
	if d.Info != nil {
		s.Info = collectors.TCPInfo(*d.Info)
	}
	return s, nil
}

func timerNamed(name string) (collectors.Timer, bool) {
	if name == "" {
		return collectors.TimerNone, true
	}
	for t := collectors.TimerNone; t <= collectors.TimerProbe; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return 0, false
}

// short cuts other people's text for a message.
func short(text string) string {
	const most = 40
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}
