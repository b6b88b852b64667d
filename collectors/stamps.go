package collectors

// The kernel starts its stamps when a handshake ends in the usual way. Otherwise they
// count from the time when jiffies were zero: the stamp of received data after a
// simultaneous open and in a socket connected to itself, and every stamp in a socket that
// was closed before its handshake ended (seen on Linux 6.18). The functions below use
// only stamps that something has set; for the others they return a time for which the
// connection certainly existed.

// opened are the states that a connection reaches only after its handshake: the peer has
// acknowledged our SYN, and the stamp of sent data is running.
const opened = StateMask(1<<Established | 1<<CloseWait | 1<<LastAck)

// Received reports whether payload has arrived, which makes the stamp of received data
// valid.
func Received(s *Socket) bool { return s.Info.BytesReceived > 0 }

// acked reports whether the peer has acknowledged anything on this connection.
func acked(s *Socket) bool {
	return opened.Has(s.State) || s.State == FinWait2 || s.Info.RTT > 0
}

// IdleAck is the time since the peer's last ACK, in milliseconds; false if there was
// none.
func IdleAck(s *Socket) (ms uint32, ok bool) { return s.Info.LastAckRecv, acked(s) }

// IdleSend is the time since data was last sent, in milliseconds. If none was sent, it is
// a time that the connection has lasted at least; false if nothing proves one.
func IdleSend(s *Socket) (ms uint32, ok bool) {
	switch {
	case s.Info.BytesSent > 0 || opened.Has(s.State):
		return s.Info.LastDataSent, true
	case acked(s):
		return min(s.Info.LastDataSent, s.Info.LastAckRecv), true
	}
	return 0, false
}

// IdleRecv is the time since data last arrived, in milliseconds. If none arrived, it is a
// time that the connection has lasted at least; false if nothing proves one.
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
