package procfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sockwarden/collectors"
)

// tree makes a directory like /proc: files by their path, links as "-> " and a target.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		must(t, "mkdir", os.MkdirAll(filepath.Dir(path), 0o755))
		if len(text) > 3 && text[:3] == "-> " {
			must(t, "symlink", os.Symlink(text[3:], path))
			continue
		}
		must(t, "write", os.WriteFile(path, []byte(text), 0o644))
	}
	return root
}

// addProcess adds the files of a process to a tree.
func addProcess(files map[string]string, pid int, comm, cmdline string, links ...string) {
	dir := fmt.Sprintf("%d/", pid)
	files[dir+"stat"] = fmt.Sprintf("%d (%s)%s", pid, comm, statFields)
	files[dir+"cmdline"] = cmdline
	files[dir+"limits"] = "Max open files            256                  4096                 files     \n"
	files[dir+"cgroup"] = "0::/system.slice/web.service\n"
	files[dir+"exe"] = "-> /usr/sbin/" + comm + " (deleted)"
	for fd, link := range links {
		files[fmt.Sprintf("%sfd/%d", dir, fd)] = "-> " + link
	}
}

func TestTreeHolders(t *testing.T) {
	files := map[string]string{"self": "-> 9", "uptime": "1 1", "net/tcp": ""}
	addProcess(files, 20, "web", "web\x00-c\x00my file\x00\x00", "/dev/null", "socket:[100]", "socket:[101]", "pipe:[100]")
	addProcess(files, 3, "web", "web", "socket:[100]", "socket:[100]")
	addProcess(files, 100, "threads", "", "/dev/null")
	files["100/task/101/fd/7"] = "-> socket:[103]"
	files["100/task/100/fd/0"] = "-> /dev/null"
	files["5/fd/0"] = "-> socket:[102]" // no stat: the process has just ended
	root := tree(t, files)

	h, err := New(root).Holders(t.Context(), map[uint32]bool{100: true, 102: true, 103: true, 999: true})
	must(t, "holders", err)
	if len(h.ByInode) != 2 || len(h.Unreadable) != 0 {
		t.Errorf("%+v", h)
	}
	if pids := pidsOf(h.ByInode[100]); !slices.Equal(pids, []int{3, 20}) {
		t.Errorf("owners of 100: %v", pids)
	}
	if pids := pidsOf(h.ByInode[103]); !slices.Equal(pids, []int{100}) || h.ByInode[103][0].FD != 7 {
		t.Errorf("owners of 103, held by a thread: %+v", h.ByInode[103])
	}
	o := h.ByInode[100][1]
	if o.FD != 1 || o.FDs != 4 || o.FDLimit != 256 || o.StartTime != 123456 || o.Comm != "web" || o.Name != "web" ||
		o.Exe != "/usr/sbin/web" || o.Cmdline != "web -c my file" || o.Unit != "web.service" || o.Container != "" {
		t.Errorf("owner %+v", o)
	}
	if held, err := New(root).Holds(100, 123456, 103); !held {
		t.Errorf("the thread's socket is not held (%v)", err)
	}
}

func TestTreeDescribe(t *testing.T) {
	const comm = "a) R (b\nx"
	files := map[string]string{}
	addProcess(files, 7, comm, "")
	delete(files, "7/exe")
	files["7/limits"] = "Max open files            unlimited            unlimited            files     \n"
	id := strings.Repeat("0123456789abcdef", 4)
	files["7/cgroup"] = "0::/docker/" + id + "\n"
	root := tree(t, files)

	o, err := New(root).Describe(7)
	if err != nil || o.Comm != comm || o.Name != comm || o.Cmdline != "" || o.Container != id {
		t.Errorf("%+v, %v", o, err)
	}
	for f, known := range map[collectors.Field]bool{
		collectors.FieldPID: true, collectors.FieldProcess: true, collectors.FieldProcessAge: true, collectors.FieldCmdline: true,
		collectors.FieldCgroup: true, collectors.FieldUnit: true, collectors.FieldContainerID: true,
		collectors.FieldExe: false, collectors.FieldFDs: false, collectors.FieldFDLimit: false, collectors.FieldContainer: false,
		collectors.FieldComposeService: false, collectors.FieldPod: false, collectors.FieldImage: false,
	} {
		if o.Known.Has(f) != known {
			t.Errorf("%s is known: %t", f, !known)
		}
	}
	if _, err := New(root).Describe(8); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("no such process: %v", err)
	}
	must(t, "truncate", os.Truncate(filepath.Join(root, "7/stat"), 5))
	if _, err := New(root).Describe(7); err == nil || errors.Is(err, collectors.ErrGone) {
		t.Errorf("broken stat: %v", err)
	}
}

func TestTreeMissing(t *testing.T) {
	f := New(filepath.Join(t.TempDir(), "nothing"))
	if h, err := f.Holders(t.Context(), nil); err != nil || h.ByInode == nil {
		t.Errorf("nothing asked: %+v, %v", h, err)
	}
	if _, err := f.Holders(t.Context(), map[uint32]bool{1: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("holders: %v", err)
	}
	if _, err := f.Sockstat(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sockstat: %v", err)
	}
	if _, _, err := f.EphemeralPorts(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ephemeral ports: %v", err)
	}
}
