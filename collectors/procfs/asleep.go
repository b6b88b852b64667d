package procfs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Sleeper is a thread that sleeps inside a call on a socket, waiting not for the network
// but, as a rule, for a page of memory. Meanwhile the kernel keeps the lock of the
// socket.
type Sleeper struct {
	PID   int
	Name  string // comm
	Inode uint32 // of the socket
	Where string // the kernel's function, as /proc/PID/wchan has it
}

// ordinary are the kernel functions in which threads sleep while they wait for a peer, or
// for a lock themselves.
var ordinary = []string{
	"0", "", "wait_woken", "sk_wait_data", "sk_stream_wait_memory", "inet_csk_accept", "inet_wait_for_connect", "__inet_stream_connect",
	"__skb_wait_for_more_packets", "schedule_timeout", "tcp_close", "sk_stream_wait_close", "__lock_sock", "lock_sock_nested", "netlink_recvmsg",
	"unix_stream_read_generic", "unix_stream_data_wait", "unix_wait_for_peer", "sock_alloc_send_pskb", "poll_schedule_timeout", "do_epoll_wait",
}

// onSocket are the system calls that move data between a socket, their first argument,
// and the memory of the process.
var onSocket = []int{
	unix.SYS_READ, unix.SYS_READV, unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG,
	unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_SENDFILE, unix.SYS_SPLICE,
}

// AsleepInSockets returns the threads that seem to keep the lock of a socket, one per
// process, as far as it can see them (CAP_SYS_PTRACE). It reads the state of every thread
// of the host.
func (w *Walk) AsleepInSockets() []Sleeper {
	pids, err := w.PIDs()
	if err != nil {
		return nil
	}
	var all []Sleeper
	for _, pid := range pids {
		tasks, _ := os.ReadDir(w.path(strconv.Itoa(pid), "task"))
		for _, task := range tasks {
			if s, ok := w.asleepIn(pid, task.Name()); ok {
				all = append(all, s)
				break
			}
		}
	}
	return all
}

func (w *Walk) asleepIn(pid int, task string) (Sleeper, bool) {
	s := Sleeper{PID: pid}
	dir := w.path(strconv.Itoa(pid), "task", task)
	call, err := os.ReadFile(dir + "/syscall")
	if err != nil {
		return s, false
	}
	// "0 0x3 0x7fd61be9f000 ...", or "running".
	words := strings.Fields(string(call))
	if len(words) < 2 {
		return s, false
	}
	number, err := strconv.Atoi(words[0])
	fd, fdErr := strconv.ParseUint(strings.TrimPrefix(words[1], "0x"), 16, 31)
	if err != nil || fdErr != nil || !slices.Contains(onSocket, number) {
		return s, false
	}
	where, err := os.ReadFile(dir + "/wchan")
	if s.Where = string(where); err != nil || slices.Contains(ordinary, s.Where) {
		return s, false
	}
	path := fmt.Sprintf("%s/fd/%d", dir, fd)
	link, err := os.Readlink(path)
	inode, ok := socketInode([]byte(link))
	if err != nil || !ok {
		return s, false
	}
	protocol := make([]byte, 16)
	if n, err := unix.Getxattr(path, "system.sockprotoname", protocol); err != nil || !bytes.HasPrefix(protocol[:n], []byte("TCP")) {
		return s, false
	}
	comm, _ := os.ReadFile(w.path(strconv.Itoa(pid), "comm"))
	s.Inode, s.Name = inode, strings.TrimSuffix(string(comm), "\n")
	return s, true
}
