package collectors

// The kernel starts its stamps when a handshake ends in the usual way. Where it
// does not, they count from when jiffies were zero: that of received data in a
// simultaneous open and in a socket that is connected to itself, and all of them
// in a socket that was closed before its handshake was over (seen on Linux
// 6.18). What follows are the stamps that something has set; of the others it is
// said how long ago the connection was there already.

// opened are the states that only a connection reaches whose handshake is over:
// the peer has acknowledged our SYN, and the stamp of sent data has been started.
const opened = StateMask(1<<Established | 1<<CloseWait | 1<<LastAck)

// Received reports whether payload has come, so that the stamp of received data
// is one.
func Received(s *Socket) bool { return s.Info.BytesReceived > 0 }

// acked reports whether an ACK has come that is of this connection.
func acked(s *Socket) bool {
	return opened.Has(s.State) || s.State == FinWait2 || s.Info.RTT > 0
}

// IdleAck is how long ago the peer's last ACK came, in milliseconds; false if
// none has.
func IdleAck(s *Socket) (ms uint32, ok bool) { return s.Info.LastAckRecv, acked(s) }

// IdleSend is how long ago data was sent, in milliseconds. If none was, it is a
// time that the connection has lasted at least; false if nothing proves any.
func IdleSend(s *Socket) (ms uint32, ok bool) {
	switch {
	case s.Info.BytesSent > 0 || opened.Has(s.State):
		return s.Info.LastDataSent, true
	case acked(s):
		return min(s.Info.LastDataSent, s.Info.LastAckRecv), true
	}
	return 0, false
}

// IdleRecv is how long ago data was received, in milliseconds. If none was, it is
// a time that the connection has lasted at least; false if nothing proves any.
func IdleRecv(s *Socket) (ms uint32, ok bool) {
	if Received(s) {
		return s.Info.LastDataRecv, true
	}
	sent, ok := IdleSend(s)
	if !ok {
		return 0, false
	}
	if ack, ok := IdleAck(s); ok {
		sent = max(sent, ack)
	}
	return min(s.Info.LastDataRecv, sent), true
}
