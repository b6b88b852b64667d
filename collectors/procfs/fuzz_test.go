package procfs

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) R (b\nx)" + statFields))
	f.Add([]byte("1 (systemd)"))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseStat(b)
		if err != nil {
			if st != (stat{}) {
				t.Errorf("%+v, %v", st, err)
			}
			return
		}
		if !bytes.Contains(b, []byte("("+st.comm+")")) {
			t.Errorf("%+v", st)
		}
		if name := fullName(st.comm, b, string(b)); !strings.HasPrefix(name, st.comm) {
			t.Errorf("%q becomes %q", st.comm, name)
		}
	})
}

// FuzzProcessFiles feeds any text as the other files of a process.
func FuzzProcessFiles(f *testing.F) {
	f.Add([]byte("Max open files            1024                 4096                 files     \n"))
	f.Add([]byte("socket:[4294967295]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, known := parseLimit(b); !known && n != 0 && n < 1<<62 {
			t.Errorf("limit %d is not known", n)
		}
		if inode, ok := socketInode(b); ok && inode == 0 {
			t.Error("inode 0")
		}
	})
}

// FuzzCutEntry feeds anything that getdents64(2) could return.
func FuzzCutEntry(f *testing.F) {
	f.Add([]byte("00000000" + "00000000" + "\x18\x00" + "\x0a" + "12\x00\x00\x00" + "rest"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			name, rest, err := cutEntry(b)
			if err != nil {
				return
			}
			if len(name) == 0 || bytes.IndexByte(name, 0) >= 0 || len(rest)+len(name)+direntName >= len(b) {
				t.Fatalf("%q: %q, %q", b, name, rest)
			}
			if n, ok := number(name); ok && n < 0 {
				t.Errorf("%q: %d", name, n)
			}
			b = rest
		}
	})
}

func FuzzParseSockstat(f *testing.F) {
	f.Add("TCP: inuse 31 orphan 2 tw 7 alloc 40 mem 3\nUDP: inuse 5 mem 2\nTCP6: inuse 4\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c, _ := parseSockstat(text); c.TCP < 0 || c.UDP < 0 {
			t.Errorf("%+v", c)
		}
	})
}
