package bpf

import "github.com/cilium/ebpf/asm"

// The record that the iterator writes for each socket, in host byte order.
const (
	recordInode = 0  // u64
	recordPID   = 8  // u32
	recordFD    = 12 // u32
	recordTable = 16 // u64, where the kernel has it
	recordRefs  = 24 // s64, as in struct file
	recordSize  = 32
)

// sockfsMagic is SOCKFS_MAGIC (include/uapi/linux/magic.h). It tells sockets from the
// path names of unix sockets opened with O_PATH.
const sockfsMagic = 0x534F434B

// references is the path of the reference count in struct file.
func references(l *layout) []string {
	if l.has("file", "f_ref") { // since Linux 6.13
		return []string{"f_ref", "refcnt"}
	}
	return []string{"f_count"}
}

// notDescriptors returns by how much the count in struct file exceeds the descriptors
// while the iterator has its own reference: f_ref is 0 for the first reference
// (FILE_REF_ONEREF, include/linux/file_ref.h), f_count is 1.
func notDescriptors(l *layout) int64 {
	if l.has("file", "f_ref") {
		return 0
	}
	return 1
}

// lastStandard is the last of the descriptors that nearly every process has; there is a
// record for each of them, whatever it is.
const lastStandard = 2

// maxPIDLevel is a power of two above the deepest level of PID namespaces
// (MAX_PID_NS_LEVEL is 32, and the initial one is level 0).
const maxPIDLevel = 64

// ownersProgram runs once for each open file. The kernel visits all threads except those
// that share the files of their process's first thread, and repeats a file whose record
// did not fit.
func ownersProgram(l *layout) asm.Instructions {
	const ctx, task, file, inode = asm.R6, asm.R7, asm.R8, asm.R9
	const record = -recordSize // on the stack
	number, upid := l.offset("pid", "numbers"), l.sizeof("upid")
	return asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		l.load(task, ctx, "bpf_iter__task_file", "task"),
		asm.JEq.Imm(task, 0, "out"), // both are NULL after the last file
		l.load(file, ctx, "bpf_iter__task_file", "file"),
		asm.JEq.Imm(file, 0, "out"),

		l.load(inode, file, "file", "f_inode"),
		l.load(asm.R1, inode, "inode", "i_sb"),
		l.load(asm.R1, asm.R1, "super_block", "s_magic"),
		asm.Mov.Imm(asm.R2, 0),
		asm.JEq.Imm(asm.R1, sockfsMagic, "socket"),
		l.load(asm.R1, ctx, "bpf_iter__task_file", "fd"),
		asm.JGT.Imm(asm.R1, lastStandard, "out"),
		asm.Ja.Label("record"),
		l.load(asm.R2, inode, "inode", "i_ino").WithSymbol("socket"),
		asm.StoreMem(asm.RFP, record+recordInode, asm.R2, asm.DWord).WithSymbol("record"),
		l.load(asm.R1, ctx, "bpf_iter__task_file", "fd"),
		asm.StoreMem(asm.RFP, record+recordFD, asm.R1, asm.Word),
		l.load(asm.R1, task, "task_struct", "files"),
		asm.StoreMem(asm.RFP, record+recordTable, asm.R1, asm.DWord),
		l.load(asm.R1, file, "file", references(l)...),
		asm.StoreMem(asm.RFP, record+recordRefs, asm.R1, asm.DWord),

		// The number of the process in the PID namespace of the reader. Every task that
		// the kernel lets the reader visit has one:
		// task->group_leader->thread_pid->numbers[reader->thread_pid->level].nr.
		asm.FnGetCurrentTaskBtf.Call(),
		l.load(asm.R1, asm.R0, "task_struct", "thread_pid"),
		l.load(asm.R2, asm.R1, "pid", "level"),
		asm.And.Imm(asm.R2, maxPIDLevel-1), // bounded, for the verifier
		asm.Mul.Imm(asm.R2, upid),
		l.load(asm.R3, task, "task_struct", "group_leader"),
		l.load(asm.R3, asm.R3, "task_struct", "thread_pid"),
		asm.JEq.Imm(asm.R3, 0, "out"), // the task has ended
		asm.Add.Reg(asm.R3, asm.R2),
		asm.Add.Imm(asm.R3, number+l.offset("upid", "nr")),
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, record+recordPID),
		asm.Mov.Imm(asm.R2, 4),
		asm.FnProbeReadKernel.Call(),
		asm.JNE.Imm(asm.R0, 0, "out"),

		l.load(asm.R1, ctx, "bpf_iter__task_file", "meta"),
		l.load(asm.R1, asm.R1, "bpf_iter_meta", "seq"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, record),
		asm.Mov.Imm(asm.R3, recordSize),
		asm.FnSeqWrite.Call(),

		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}
}
