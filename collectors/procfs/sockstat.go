package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Counts is how many sockets a namespace has, by /proc/net/sockstat{,6}. The kernel counts
// there what has a place in its tables: neither what is in SYN_RECV nor what is bound
// and no more.
type Counts struct {
	TCP int // with orphans, listeners and TIME_WAIT
	UDP int
	// Sure says that the kernel told both numbers: if one is 0, there are none.
	Sure bool
}

// Sockstat counts the sockets of the namespace that the calling thread is in.
// It costs no walk through the sockets.
//
// The kernel adds up what its processors have counted, one after the other, and one that
// counts meanwhile can hide another's. So what seems to have no TCP is counted again.
func (n Network) Sockstat() (Counts, error) {
	first, err := n.sockstat("thread-self")
	if err != nil || first.TCP > 0 {
		return first, err
	}
	second, err := n.sockstat("thread-self")
	second.TCP, second.UDP, second.Sure = max(first.TCP, second.TCP), max(first.UDP, second.UDP), first.Sure && second.Sure
	return second, err
}

// SockstatOf counts the sockets of the namespace of a process.
func (n Network) SockstatOf(pid int) (Counts, error) { return n.sockstat(strconv.Itoa(pid)) }

func (n Network) sockstat(who string) (Counts, error) {
	// Without IPv6 there is no second file. It is read first: what goes to TIME_WAIT
	// meanwhile is in the other one, whatever its family.
	six, err6 := slurp(n.path(who, "net", "sockstat6"))
	four, err := slurp(n.path(who, "net", "sockstat"))
	if err != nil {
		return Counts{}, fmt.Errorf("count sockets: %w", err)
	}
	counts, told := parseSockstat(string(four) + string(six))
	counts.Sure = told == 4 && err6 == nil || told == 2 && errors.Is(err6, fs.ErrNotExist)
	return counts, nil
}

// slurp reads a small file of /proc at once, as the kernel makes it: os.ReadFile takes
// twice as long, and there can be hundreds of namespaces.
func slurp(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 1024) // sockstat has 300
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		default:
			return buf[:n], nil
		}
	}
}

// parseSockstat adds up the lines of both files, and counts how many of them told
// numbers: two in each.
func parseSockstat(text string) (c Counts, told int) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if name != "TCP" && name != "TCP6" && name != "UDP" && name != "UDP6" {
			continue
		}
		inuse, ok := valueOf(rest, "inuse")
		switch name {
		case "UDP", "UDP6":
			c.UDP += inuse
		default:
			tw, hasTimeWait := valueOf(rest, "tw") // TCP alone, for both
			c.TCP, ok = c.TCP+inuse+tw, ok && (hasTimeWait || name == "TCP6")
		}
		if ok {
			told++
		}
	}
	return c, told
}

// valueOf returns the number behind a word.
func valueOf(text, word string) (int, bool) {
	f := strings.Fields(text)
	for i := 0; i+1 < len(f); i += 2 {
		if f[i] == word {
			n, err := strconv.ParseUint(f[i+1], 10, 32)
			if err != nil {
				return 0, false
			}
			return int(n), true
		}
	}
	return 0, false
}
