package trust

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// Open opens what the kernel would, whatever the path looks like, and names whoever could
// change the way to it.
func TestOpen(t *testing.T) {
	for name, test := range map[string]struct {
		change  change // the tree has dir/a/b/file and dir/c/file
		path    string // below dir
		content string // below dir; "" for what os.ReadFile says
		want    string // in the reason for not trusting it, "" for trusted
	}{
		"plain":            {nil, "a/b/file", "a/b/file", ""},
		"many slashes":     {nil, "a//b/./file", "a/b/file", ""},
		"up and down":      {nil, "a/b/../../c/file", "c/file", ""},
		"above the root":   {nil, strings.Repeat("../", 30) + "DIR/c/file", "c/file", ""},
		"up behind a link": {all(link("../a/b", "c/up"), file("a/file")), "c/up/../file", "a/file", ""},
		"link":             {link("../c/file", "a/l"), "a/l", "c/file", ""},
		"absolute link":    {link("DIR/c", "a/l"), "a/l/file", "c/file", ""},
		"link by link":     {all(link("m/../c", "l"), link("a/b/..", "m"), file("a/c/"), file("a/c/file")), "l/file", "c/file", ""},
		"mode": {
			mode("a/b/file", 0o646), "a/b/file", "",
			"to DIR/a/b/file (mode 0646); cure: chown 0:0 DIR/a/b/file && chmod go-w DIR/a/b/file, or copy",
		},
		"group": {mode("a/b/file", 0o664), "a/b/file", "", "others can write to DIR/a/b/file (mode 0664)"},
		"owner": {
			theirs("a/b/file"), "a/b/file", "",
			"DIR/a/b/file belongs to uid 54321, who could change it (mode 0644); cure: chown 0:0 DIR/a/b/file,",
		},
		"owner and mode":   {all(theirs("c/file"), mode("c/file", 0o666)), "c/file", "", "cure: chown 0:0 DIR/c/file && chmod go-w DIR/c/file, or"},
		"directory":        {mode("a", 0o777), "a/b/file", "", "others can write to DIR/a (mode 0777)"},
		"owner of one":     {theirs("a"), "a/b/file", "", "DIR/a belongs to uid 54321"},
		"sticky above":     {mode("a", 0o777|os.ModeSticky), "a/b/file", "", ""},
		"sticky":           {mode("a/b", 0o777|os.ModeSticky), "a/b/file", "", "others can put files into DIR/a/b (mode 01777); cure: move the file"},
		"theirs in sticky": {all(mode("a", 0o777|os.ModeSticky), theirs("a/b")), "a/b/file", "", "DIR/a/b belongs to uid 54321"},
		"link in sticky":   {all(mode("a", 0o777|os.ModeSticky), link("../c", "a/l")), "a/l/file", "", "others can put files into DIR/a"},
		"their link": {
			all(link("../c", "a/l"), theirs("a/l")), "a/l/file", "",
			"the link DIR/a/l belongs to uid 54321, who chose where it leads; cure: chown -h 0:0 DIR",
		},
		"directory of link": {all(link("../c", "a/l"), mode("a", 0o777)), "a/l/file", "", "others can write to DIR/a (mode 0777)"},
		"above a link":      {all(link("DIR/a/b/..", "c/l"), file("a/f"), mode("a/b", 0o777)), "c/l/f", "a/f", ""},
		"behind a link":     {all(link("../a/b", "c/up"), file("a/file"), mode("a", 0o777)), "c/up/../file", "", "others can write to DIR/a (mode 0777)"},
		"strange name":      {all(file("a/b/it's $HOME"), mode("a/b/it's $HOME", 0o666)), "a/b/it's $HOME", "", `chmod go-w 'DIR/a/b/it'\''s $HOME', or`},
		"read-only mount":   {all(mode("a/b/file", 0o666), readOnly("a")), "a/b/file", "", "others can write to DIR/a/b/file (mode 0666)"},
		"read-only, theirs": {all(theirs("a/b"), readOnly("a")), "a/b/file", "", "DIR/a/b belongs to uid 54321"},
		"read-only, ours":   {readOnly("a"), "a/b/file", "", ""},
		"access list": {func(t testing.TB, dir string) {
			var list []byte // version 2 of include/uapi/linux/posix_acl_xattr.h
			list = binary.LittleEndian.AppendUint32(list, 2)
			for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 6, stranger}, {4, 4, ^uint32(0)}, {0x10, 6, ^uint32(0)}, {0x20, 4, ^uint32(0)}} {
				list = binary.LittleEndian.AppendUint16(list, uint16(e[0]))
				list = binary.LittleEndian.AppendUint16(list, uint16(e[1]))
				list = binary.LittleEndian.AppendUint32(list, e[2])
			}
			must(t, "setxattr", unix.Setxattr(dir+"/c/file", "system.posix_acl_access", list, 0))
		}, "c/file", "", "others can write to DIR/c/file (mode 0664)"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "a/", "a/b/", "a/b/file", "c/", "c/file")
			if test.change != nil {
				test.change(t, dir)
			}
			path := dir + "/" + strings.ReplaceAll(test.path, "DIR", dir)
			want, err := os.ReadFile(path)
			must(t, "read", err)
			f, err := new(Checker).Open(path)
			must(t, "open", err)
			defer f.Close()
			got, err := f.ReadAll(1000)
			if err != nil || string(got) != string(want) || test.content != "" && (string(got) != dir+"/"+test.content || f.Path != dir+"/"+test.content) {
				t.Errorf("%s holds %q (%v), want %q", f.Path, got, err, want)
			}
			reason := ""
			if err := f.Trusted(); err != nil {
				reason = strings.ReplaceAll(err.Error(), dir, "DIR")
			}
			if (reason == "") != (test.want == "") || !strings.Contains(reason, test.want) {
				t.Errorf("trusted: %q, want %q", reason, test.want)
			}
		})
	}
}

// Relative paths start in the working directory, wherever it is.
func TestRelative(t *testing.T) {
	dir := tree(t, "a/", "a/file", "b/")
	must(t, "link", os.Symlink("../a", dir+"/b/l"))
	t.Chdir(dir + "/b/l")
	for path, want := range map[string]string{"file": "/a/file", "./file": "/a/file", "../a/file": "/a/file", "../b/l/file": "/a/file"} {
		f, err := new(Checker).Open(path)
		must(t, path, err)
		if f.Path != dir+want || f.Trusted() != nil {
			t.Errorf("%s is %s, %v", path, f.Path, f.Trusted())
		}
		f.Close()
	}
	must(t, "chmod", os.Chmod(dir, 0o777))
	f, err := new(Checker).Open("file")
	must(t, "open", err)
	defer f.Close()
	if err := f.Trusted(); err == nil || !strings.Contains(err.Error(), "others can write to "+dir+" ") {
		t.Errorf("%v", err)
	}
}

// Anything but a file is reported as such, a missing file gives the kernel's error, and
// nothing waits.
func TestNoFile(t *testing.T) {
	dir := tree(t, "a/", "file")
	must(t, "pipe", unix.Mkfifo(dir+"/pipe", 0o600))
	must(t, "socket", unix.Mknod(dir+"/socket", unix.S_IFSOCK|0o600, 0))
	for i := range 50 {
		must(t, "link", os.Symlink(strconv.Itoa(i+1), dir+"/"+strconv.Itoa(i)))
	}
	put(t, dir+"/50")
	must(t, "link", os.Symlink("gone", dir+"/dangling"))
	must(t, "link", os.Symlink("loop", dir+"/loop"))
	for path, want := range map[string]error{
		"a": ErrNotRegular, "a/": ErrNotRegular, "pipe": ErrNotRegular, "socket": ErrNotRegular, "/dev/null": ErrNotRegular, "/dev/zero": ErrNotRegular,
		"/": ErrNotRegular, "gone": fs.ErrNotExist, "gone/x": fs.ErrNotExist, "dangling": fs.ErrNotExist, "file/": unix.ENOTDIR, "file/x": unix.ENOTDIR,
		"file/..": unix.ENOTDIR, "loop": unix.ELOOP, "0": unix.ELOOP, "10": nil, "": fs.ErrNotExist, "a\x00b": unix.EINVAL,
		strings.Repeat("x", 300): unix.ENAMETOOLONG,
	} {
		if path != "" && path[0] != '/' {
			path = dir + "/" + path
		}
		f, err := new(Checker).Open(path)
		if err == nil {
			f.Close()
		}
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%q: %v, want %v", path, err, want)
		}
	}
	// /proc/kmsg looks like a regular file, and gives nothing until the kernel says
	// something.
	f, err := new(Checker).Open("/proc/kmsg")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		t.Skipf("kernel log: %v", err)
	}
	must(t, "open", err)
	defer f.Close()
	if b, err := f.ReadAll(1 << 30); err == nil {
		t.Errorf("%d bytes of something without an end", len(b))
	}
}

// Links of /proc to open files lead to those, and are trusted only if the path that they
// show leads there as well.
func TestDescriptors(t *testing.T) {
	dir := tree(t, "file", "gone")
	open := func(path string) string {
		f, err := os.Open(path)
		must(t, "open", err)
		t.Cleanup(func() { _ = f.Close() })
		return "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	}
	file, gone, self := open(dir+"/file"), open(dir+"/gone"), open(dir)
	must(t, "remove", os.Remove(dir+"/gone"))
	r, w, err := os.Pipe()
	must(t, "pipe", err)
	defer func() { _, _ = r.Close(), w.Close() }()
	for path, want := range map[string]string{
		file: "", strings.Replace(file, "self", "thread-self", 1): "", self + "/file": "", "/proc/self/cwd/../" + filepath.Base(cwd(t)) + "/trust.go": "",
		gone: "it is not known where it lies", "/proc/self/fd/" + strconv.Itoa(int(r.Fd())): "not a regular file",
		"/proc/self/mounts": "",
	} {
		f, err := new(Checker).Open(path)
		if err == nil {
			_, err = f.ReadAll(1 << 20)
			if err == nil && f.Trusted() != nil {
				err = f.Trusted()
			}
			f.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	must(t, "chmod", os.Chmod(dir, 0o777))
	f, err := new(Checker).Open(file)
	must(t, "open", err)
	defer f.Close()
	if err := f.Trusted(); err == nil || !strings.Contains(err.Error(), "others can write to "+dir+" ") {
		t.Errorf("%v", err)
	}
}

func cwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	must(t, "getwd", err)
	return dir
}

// An idmapped mount shows owners other than those of the files.
func TestIdmapped(t *testing.T) {
	dir := tree(t, "a/", "a/file", "there/")
	sleeper := exec.Command("sleep", "1000")
	sleeper.Stderr = os.Stderr
	sleeper.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: stranger, Size: 1}, {ContainerID: stranger, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: stranger, Size: 1}, {ContainerID: stranger, HostID: 0, Size: 1}},
	}
	must(t, "start", sleeper.Start())
	defer func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() }()
	ns, err := os.Open("/proc/" + strconv.Itoa(sleeper.Process.Pid) + "/ns/user")
	must(t, "user namespace", err)
	defer func() { _ = ns.Close() }()
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir+"/a", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	must(t, "open_tree", err)
	defer func() { _ = unix.Close(fd) }()
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())})
	if errors.Is(err, unix.EPERM) && os.Getenv(socklab.EnvRequire) == "" {
		t.Skipf("mount_setattr: %v", err) // not the initial user namespace
	}
	must(t, "mount_setattr", err)
	must(t, "move_mount", unix.MoveMount(fd, "", unix.AT_FDCWD, dir+"/there", unix.MOVE_MOUNT_F_EMPTY_PATH))
	t.Cleanup(func() { must(t, "unmount", unix.Unmount(dir+"/there", unix.MNT_DETACH)) })
	// The stranger's file looks like ours.
	give(t, dir+"/a/file")
	give(t, dir+"/a")
	info, err := os.Stat(dir + "/there/file")
	must(t, "stat", err)
	if st, _ := info.Sys().(*syscall.Stat_t); st.Uid != 0 {
		t.Fatalf("it shows uid %d: the mount is not mapped", st.Uid)
	}
	f, err := new(Checker).Open(dir + "/there/file")
	must(t, "open", err)
	defer f.Close()
	err = f.Trusted()
	if err == nil || !strings.Contains(err.Error(), "lies on an idmapped mount") || !strings.Contains(err.Error(), "cure: copy the file to another mount") {
		t.Errorf("%v", err)
	}
}

// Lines of /proc/self/mountinfo as Linux 6.18 writes them.
func TestMounts(t *testing.T) {
	table := mountTable{}
	table.parse(`23 29 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 29 0:40 / /mnt/mapped ro,relatime,idmapped - ext4 /dev/vdb rw
41 29 0:41 / /home/anna/mnt rw,nosuid,nodev,relatime shared:5 master:2 - fuse.sshfs anna@host: rw,user_id=1000,group_id=1000,allow_other
42 29 0:42 / /mnt/ntfs rw,relatime - fuseblk /dev/vdc rw,user_id=0,group_id=0,allow_other
43 29 0:43 / /mnt/idmapped\040fuse rw - tmpfs fuse rw
garbage
44 29
`)
	for id, want := range map[uint64]string{
		23: "", 29: "", 42: "", 43: "", 40: "PATH lies on an idmapped mount", 41: "PATH lies on a mount (FUSE) of which a program of uid 1000 makes up the files",
	} {
		err := table.trusted(map[uint64]string{id: "PATH"})
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("mount %d: %v, want %q", id, err, want)
		}
	}
	// The real mounts are searched for one that does not exist.
	if err := table.trusted(map[uint64]string{1 << 60: "PATH"}); err == nil || !strings.HasPrefix(err.Error(), "the mount of PATH cannot be examined") {
		t.Errorf("%v", err)
	}
	if _, ok := table[40]; ok && table[40].idmapped {
		t.Error("the real mounts were not read")
	}
}

// In a chroot the list of mounts does not show the mount of the root.
func TestChroot(t *testing.T) {
	if os.Getenv("TRUST_CHROOT") != "" {
		must(t, "chroot", unix.Chroot(os.Getenv("TRUST_CHROOT")))
		t.Chdir("/")
		f, err := new(Checker).Open("/file")
		must(t, "open", err)
		must(t, "trusted", f.Trusted())
		return
	}
	dir := tree(t, "file", "proc/")
	must(t, "proc", unix.Mount("/proc", dir+"/proc", "", unix.MS_BIND|unix.MS_REC, ""))
	t.Cleanup(func() { must(t, "unmount", unix.Unmount(dir+"/proc", unix.MNT_DETACH)) })
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestChroot$", "-test.v")
	cmd.Env = append(os.Environ(), "TRUST_CHROOT="+dir, socklab.EnvInside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestChroot") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Places returns the directories to watch: a change in one of them can change what a path
// leads to.
func TestPlaces(t *testing.T) {
	dir := tree(t, "a/", "a/file", "b/", "c/")
	must(t, "link", os.Symlink("../b/l", dir+"/c/l"))
	must(t, "link", os.Symlink(dir+"/a", dir+"/b/l"))
	for path, want := range map[string]string{
		"a/file": "/a", "a": " /a", "c/l/file": "/a /b /c", "c/l": " /a /b /c", "a/none": "/a", "a/none/none": "/a", "c/l/none": "/a /b /c", "c/l/../b/none": "/b /c",
	} {
		got := Places(dir + "/" + path)
		slices.Sort(got)
		got = slices.Compact(got)
		if text := strings.ReplaceAll(strings.Join(got, " "), dir, ""); text != want {
			t.Errorf("%s: %q, want %q", path, text, want)
		}
	}
}

// A file that is constantly replaced is opened as one version or the other, and the
// verdict is about the opened one.
func TestReplaced(t *testing.T) {
	dir := tree(t, "good", "bad")
	must(t, "chmod", os.Chmod(dir+"/bad", 0o666))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Link(dir+"/"+[]string{"good", "bad"}[i%2], dir+"/next")
			_ = os.Rename(dir+"/next", dir+"/file")
		}
	}()
	seen := map[bool]int{}
	socklab.WaitFor(t, "both", func() bool {
		f, err := new(Checker).Open(dir + "/file")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errReplaced) {
			return false
		}
		must(t, "open", err)
		defer f.Close()
		b, err := f.ReadAll(1000)
		must(t, "read", err)
		good := strings.HasSuffix(string(b), "good")
		if trusted := f.Trusted() == nil; trusted != good {
			t.Fatalf("%s: trusted %t", b, trusted)
		}
		seen[good]++
		return seen[true] > 100 && seen[false] > 100
	})
	close(stop)
	<-done
}
