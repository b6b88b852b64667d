package procfs

import (
	"math"
	"strings"
	"testing"
)

// statFields are fields 3 to 22 of /proc/PID/stat: state S, parent 7, flags, 4 threads,
// start 123456.
const statFields = " S 7 1 1 0 -1 4194560 10 0 0 0 1 2 3 4 20 0 4 0 123456 1000 20"

func TestParseStat(t *testing.T) {
	for _, comm := range []string{"nginx", "", " ", ")", "(", "a) R (b\nx", ") S 1 2 3", "((()))", "\xff\xfe", "sd-pam) Z 1 1 1", "15 bytes exactly"[:15]} {
		got, err := parseStat([]byte("42 (" + comm + ")" + statFields))
		want := stat{comm: comm, state: 'S', parent: 7, threads: 4, startTime: 123456}
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", comm, got, err)
		}
	}
	kernel := strings.Replace(statFields, "4194560", "2129984", 1) // with PF_KTHREAD
	if got, err := parseStat([]byte("2 (kthreadd)" + kernel)); err != nil || !got.kernel {
		t.Errorf("kernel thread: %+v, %v", got, err)
	}
}

func TestParseStatBroken(t *testing.T) {
	for name, text := range map[string]string{
		"empty":              "",
		"no parentheses":     "42 nginx" + statFields,
		"not closed":         "42 (nginx" + statFields,
		"closed before open": ")(" + statFields,
		"cut":                "42 (nginx) S 7 1 1 0 -1 4194560 10 0 0 0 1 2 3 4 20 0 4 0",
		"parent":             "42 (nginx)" + strings.Replace(statFields, " 7 ", " x ", 1),
		"flags":              "42 (nginx)" + strings.Replace(statFields, "4194560", "-1", 1),
		"threads":            "42 (nginx)" + strings.Replace(statFields, " 0 4 0 ", " 0 4x 0 ", 1),
		"start":              "42 (nginx)" + strings.Replace(statFields, "123456", "99999999999999999999", 1),
	} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestFullName(t *testing.T) {
	const long = "systemd-resolved" // 16 bytes; the kernel keeps 15
	for _, c := range []struct{ comm, cmdline, exe, want string }{
		{"nginx", "nginx: master process\x00", "/usr/sbin/nginx", "nginx"},
		{long[:15], "/lib/systemd/" + long + "\x00--flag\x00", "", long},
		{long[:15], long, "", long}, // no NUL at the end
		{long[:15], "", "/lib/systemd/" + long, long},
		{long[:15], "resolver\x00" + long + "\x00", "/lib/systemd/" + long, long}, // the program renamed itself
		{long[:15], "resolver\x00", "/usr/bin/other", long[:15]},
		{long[:15], "", "", long[:15]},
		{"14 bytes only!", "14 bytes only! and more", "/x/14 bytes only! and more", "14 bytes only!"},
		{"", "x\x00", "/x", ""},
	} {
		if got := fullName(c.comm, []byte(c.cmdline), c.exe); got != c.want {
			t.Errorf("%q, %q, %q: %q, not %q", c.comm, c.cmdline, c.exe, got, c.want)
		}
	}
}

func TestParseLimit(t *testing.T) {
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             1                    2                    processes \n"
	for _, c := range []struct {
		line  string
		limit uint64
		known bool
	}{
		{"Max open files            1024                 1048576              files     \n", 1024, true},
		{"Max open files            0                    0                    files     \n", 0, true},
		{"Max open files            unlimited            unlimited            files     \n", 0, false},
		{"Max open files            9223372036854775806  unlimited            files     \n", math.MaxInt64 - 1, true},
		{"Max open files            18446744073709551615 unlimited            files     \n", 0, false},
		{"Max open files\n", 0, false},
		{"Max open files            -1", 0, false},
		{"", 0, false},
	} {
		got, known := parseLimit([]byte(head + c.line))
		if known != c.known || known && got != c.limit {
			t.Errorf("%q: %d, %t", c.line, got, known)
		}
	}
}

func TestSocketInode(t *testing.T) {
	for link, want := range map[string]uint32{
		"socket:[1]": 1, "socket:[4294967295]": math.MaxUint32,
		"socket:[0]": 0, "socket:[4294967296]": 0, "socket:[-1]": 0, "socket:[]": 0, "socket:[12": 0, "socket:12]": 0,
		"pipe:[12]": 0, "anon_inode:[eventpoll]": 0, "/tmp/socket:[12]": 0, "socket:[1]2]": 0, "": 0,
	} {
		if got, ok := socketInode([]byte(link)); ok != (want != 0) || ok && got != want {
			t.Errorf("%q: %d, %t", link, got, ok)
		}
	}
}
