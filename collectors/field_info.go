package collectors

// infoFields are what struct tcp_info shows.
var infoFields = []FieldDoc{
	{
		Field: FieldIdle, Name: "idle", Type: TypeSeconds, Unit: "s", Cost: CostInfo, Source: tcpInfo,
		Meaning: "time since data went either way", Unknown: noStamp,
		Num:    func(r *Record) float64 { return min(idleOf(r, IdleRecv), idleOf(r, IdleSend)) },
		SetNum: func(r *Record, v float64) { r.setIdle(v) },
	},
	{
		Field: FieldIdleRecv, Name: "idle_recv", Type: TypeSeconds, Unit: "s", Cost: CostInfo, Source: tcpInfo,
		Meaning: "time since data was received; if none was, what is proven of the connection's own time", Unknown: noStamp,
		Num:    func(r *Record) float64 { return idleOf(r, IdleRecv) },
		SetNum: func(r *Record, v float64) { r.setIdleRecv(v) },
	},
	{
		Field: FieldIdleSend, Name: "idle_send", Type: TypeSeconds, Unit: "s", Cost: CostInfo, Source: tcpInfo,
		Meaning: "time since data was sent; if none was, what is proven of the connection's own time", Unknown: noStamp,
		Num:    func(r *Record) float64 { return idleOf(r, IdleSend) },
		SetNum: func(r *Record, v float64) { r.setIdleSend(v) },
	},
	{
		Field: FieldAckIdle, Name: "ack_idle", Type: TypeSeconds, Unit: "s", Cost: CostInfo, Source: tcpInfo,
		Meaning: "time since the peer's last ACK: keepalive replies renew it", Unknown: noStamp,
		Num:    func(r *Record) float64 { return idleOf(r, IdleAck) },
		SetNum: func(r *Record, v float64) { r.info().LastAckRecv = millis(v) },
	},
	{
		Field: FieldBackoff, Name: "backoff", Type: TypeNumber, Cost: CostInfo, Source: tcpInfo,
		Meaning: "how often the retransmission timeout was doubled", Unknown: noSegInfo,
		Num:    func(r *Record) float64 { return float64(r.Socket.Info.Backoff) },
		SetNum: func(r *Record, v float64) { r.info().Backoff = uint8(v) },
	},
	{
		Field: FieldRTT, Name: "rtt", Type: TypeSeconds, Unit: "s", Cost: CostInfo, Source: tcpInfo,
		Meaning: "smoothed round trip time", Unknown: noInfo,
		Num:    func(r *Record) float64 { return float64(r.Socket.Info.RTT) / 1e6 },
		SetNum: func(r *Record, v float64) { r.info().RTT = micros(v) },
	},
	{
		Field: FieldRTO, Name: "rto", Type: TypeSeconds, Unit: "s", Cost: CostInfo, Source: tcpInfo,
		Meaning: "retransmission timeout", Unknown: noSegInfo,
		Num:    func(r *Record) float64 { return float64(r.Socket.Info.RTO) / 1e6 },
		SetNum: func(r *Record, v float64) { r.info().RTO = micros(v) },
	},
	{
		Field: FieldUnacked, Name: "unacked", Type: TypeNumber, Unit: "segments", Cost: CostInfo, Source: tcpInfo,
		Meaning: "segments sent and not acknowledged", Unknown: noSegInfo,
		Num:    func(r *Record) float64 { return float64(r.Socket.Info.Unacked) },
		SetNum: func(r *Record, v float64) { r.info().Unacked = uint32(v) },
	},
	{
		Field: FieldLost, Name: "lost", Type: TypeNumber, Unit: "segments", Cost: CostInfo, Source: tcpInfo,
		Meaning: "segments held to be lost", Unknown: noSegInfo,
		Num:    func(r *Record) float64 { return float64(r.Socket.Info.Lost) },
		SetNum: func(r *Record, v float64) { r.info().Lost = uint32(v) },
	},
	{
		Field: FieldBytesSent, Name: "bytes_sent", Type: TypeNumber, Unit: "bytes", Cost: CostInfo, Source: tcpInfo,
		Meaning: "payload sent, with retransmissions", Unknown: noInfo + ", Linux before 4.19",
		Num:    func(r *Record) float64 { return float64(r.Socket.Info.BytesSent) },
		SetNum: func(r *Record, v float64) { r.info().BytesSent = uint64(v) },
	},
	{
		Field: FieldBytesReceived, Name: "bytes_received", Type: TypeNumber, Unit: "bytes", Cost: CostInfo, Source: tcpInfo,
		Meaning: "payload received", Unknown: noInfo + ", Linux before 4.1",
		Num:    func(r *Record) float64 { return float64(r.Socket.Info.BytesReceived) },
		SetNum: func(r *Record, v float64) { r.info().BytesReceived = uint64(v) },
	},
}
