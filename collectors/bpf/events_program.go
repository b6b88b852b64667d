package bpf

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sockwarden/collectors"
)

const (
	mapStates  = "states"  // one collectors.StateMask
	mapEntries = "entries" // cookie to value
	mapRing    = "ring"    // one cookie for each value written, to wake the reader
	mapCounts  = "counts"  // of what was done with values: one of counts

	// The counts, each a u64, at these offsets.
	countNoted   = 0  // values written
	countEnded   = 8  // values deleted, as their socket left the state
	countRefused = 16 // values that the kernel did not take
	countsSize   = 24

	ringSize   = 64 << 10
	ringRecord = 16 // header and cookie

	tcpProtocol = int32(collectors.TCP)
)

func eventMaps(capacity int) map[string]*ebpf.MapSpec {
	return map[string]*ebpf.MapSpec{
		mapStates:  {Name: mapStates, Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1},
		mapEntries: {Name: mapEntries, Type: ebpf.LRUHash, KeySize: 8, ValueSize: valueSize, MaxEntries: uint32(capacity)},
		mapRing:    {Name: mapRing, Type: ebpf.RingBuf, MaxEntries: ringSize},
		mapCounts:  {Name: mapCounts, Type: ebpf.Array, KeySize: 4, ValueSize: countsSize, MaxEntries: 1},
	}
}

// eventsProgram runs at each transition, just before the kernel stores the new state.
// Each time it deletes the entry of the socket, whatever state the socket leaves, before
// it writes another one. So an entry is never about a time before the last transition that
// the program saw:
//
//   - Deleting fails only if there is no entry, or if the interrupted code holds the lock of the bucket. That takes an
//     NMI, and no socket changes in an NMI.
//   - SetStates therefore needs no cleaning up: an entry of a state that is no longer wanted goes
//     when the socket leaves the state, and a newly wanted state gets entries only for sockets
//     that enter it from then on.
//   - The kernel does not run the program (Linux 6.2) when a packet interrupts it on the same
//     CPU, so the socket of that packet may keep the entry of the state that it left. But to
//     reach the same state again with the same cookie, it has to pass through connect(2) or
//     listen(2), and system calls interrupt no program: it sees that transition, and the entry
//     ends.
func eventsProgram(l *layout) asm.Instructions {
	const ctx, sk, state = asm.R6, asm.R7, asm.R8
	// On the stack; the key is the cookie at the start of the value.
	const value, key = -valueSize, -valueSize + valueCookie
	code := asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMem(sk, ctx, 0, asm.DWord),
		asm.LoadMem(asm.R1, ctx, 8, asm.DWord),    // oldstate
		asm.LoadMem(state, ctx, 16, asm.DWord),    // newstate
		asm.JEq.Reg(asm.R1, state, "out"),         // as when the kernel closes a dead socket
		l.load(asm.R2, sk, "sock", "sk_protocol"), // the extra socket of MPTCP
		asm.JNE.Imm(asm.R2, tcpProtocol, "out"),   // has protocol 262, and states of its own
		// The copy of a listener, for an incoming connection. Older kernels (Linux 6.1)
		// give it a cookie only later.
		asm.JNE.Imm(asm.R1, int32(collectors.Listen), "identify"),
		asm.JEq.Imm(state, int32(collectors.SynRecv), "out"),

		asm.Mov.Reg(asm.R1, sk).WithSymbol("identify"),
		asm.FnGetSocketCookie.Call(),
		asm.StoreMem(asm.RFP, key, asm.R0, asm.DWord),

		asm.LoadMapPtr(asm.R1, 0).WithReference(mapEntries),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, key),
		asm.FnMapDeleteElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "wanted"),
	}
	code = append(code, count(countEnded)...)
	code = append(
		code,
		asm.LoadMapValue(asm.R1, 0, 0).WithReference(mapStates).WithSymbol("wanted"),
		asm.LoadMem(asm.R1, asm.R1, 0, asm.Word),
		asm.And.Imm(state, 31),
		asm.RSh.Reg(asm.R1, state),
		asm.And.Imm(asm.R1, 1),
		asm.JEq.Imm(asm.R1, 0, "out"),
	)
	code = append(code, noteEntry(l, sk, state, value)...)
	return append(code,
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	)
}

// count adds one to a count.
func count(what int) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapValue(asm.R1, 0, uint32(what)).WithReference(mapCounts),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
	}
}

// noteEntry completes the value, stores it and wakes the reader.
func noteEntry(l *layout, sk, state asm.Register, value int16) asm.Instructions {
	code := asm.Instructions{
		asm.StoreMem(asm.RFP, value+valueState, state, asm.Half),
		l.load(asm.R1, sk, "sock", "__sk_common", "skc_family"),
		asm.StoreMem(asm.RFP, value+valueFamily, asm.R1, asm.Half),
		l.load(asm.R1, sk, "sock", "__sk_common", "skc_num"),
		asm.StoreMem(asm.RFP, value+valueLocal, asm.R1, asm.Half),
		l.load(asm.R1, sk, "sock", "__sk_common", "skc_dport"),
		asm.StoreMem(asm.RFP, value+valueRemote, asm.R1, asm.Half),
		asm.FnKtimeGetNs.Call(),
		asm.StoreMem(asm.RFP, value+valueSince, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, value+valueCookie, asm.DWord),
		asm.Xor.Reg(asm.R1, asm.R0),
		asm.StoreMem(asm.RFP, value+valueSeal, asm.R1, asm.DWord),

		asm.LoadMapPtr(asm.R1, 0).WithReference(mapEntries),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, int32(value+valueCookie)),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, int32(value)),
		asm.Mov.Imm(asm.R4, int32(ebpf.UpdateAny)),
		asm.FnMapUpdateElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "refused"),
	}
	code = append(code, count(countNoted)...)
	code = append(
		code,
		// If the ring is full, something else has woken the reader already.
		asm.LoadMapPtr(asm.R1, 0).WithReference(mapRing),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, int32(value+valueCookie)),
		asm.Mov.Imm(asm.R3, 8),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Ja.Label("out"),
	)
	refused := count(countRefused)
	refused[0] = refused[0].WithSymbol("refused")
	return append(code, refused...)
}
