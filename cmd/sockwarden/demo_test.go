package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
)

// playground is a running examples/demo.
type playground struct {
	*exec.Cmd
	dir string // for temporary files, and nothing else
	out bytes.Buffer
	err bytes.Buffer
}

// demo prepares examples/demo to run with a prefix; in is its standard input.
func demo(t *testing.T, in io.Reader, prefix ...string) *playground {
	t.Helper()
	bin := t.TempDir()
	for dir := bin; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "demo"), "sockwarden/examples/demo").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	program, err := os.ReadFile(build(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "sockwarden"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &playground{dir: filepath.Join(bin, "tmp")}
	if err := errors.Join(os.Mkdir(p.dir, 0o755), os.Chmod(p.dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	args := append(prefix, filepath.Join(bin, "demo"), "-sockwarden", filepath.Join(bin, "sockwarden"))
	p.Cmd = exec.Command(args[0], args[1:]...)
	p.Env = append(os.Environ(), "TMPDIR="+p.dir, "NO_COLOR=1")
	p.Stdin, p.Stdout, p.Stderr = in, &p.out, &p.err
	p.Cancel, p.WaitDelay = nil, 0
	return p
}

// leavesNothing checks that no temporary file is left. Processes are not: Wait returns once
// nobody has the output open.
func (p *playground) leavesNothing(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(p.dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// demoCommands are those that README.md shows.
func demoCommands(t *testing.T) []string {
	t.Helper()
	return commandsIn(t, filepath.Join(root, "README.md"), regexp.MustCompile(`(?m)^    demo\$ (.*)$`))
}

// TestDemo runs what README.md shows in the playground: it prints the same commands, each
// works, the last one destroys the leak and nothing else, and nothing is left behind.
func TestDemo(t *testing.T) {
	socklab.Need(t)
	commands := demoCommands(t)
	if len(commands) != 5 {
		t.Fatalf("README.md shows %d commands of the demo", len(commands))
	}
	script := "set -e\nuntil sockwarden audit --rules builtin --var close_wait_timeout=2 -o json | grep -q '\"would_act\": 5'; do sleep 0.1; done\n" +
		strings.Join(commands, "\n") + "\nsockwarden rules check --strict leak.yaml\necho AFTER\nsockwarden list --by port,state -o jsonl\nexit 7\n"
	for name, prefix := range map[string][]string{"root": nil, "nobody": nobody} {
		t.Run(name, func(t *testing.T) {
			p := demo(t, strings.NewReader(script), prefix...)
			err := p.Run()
			if name == "nobody" && strings.Contains(p.err.String(), "this host does not let you make namespaces") {
				socklab.Lacks(t, errors.New(p.err.String()))
			}
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
				t.Fatalf("%v\n%s%s", err, p.out.String(), p.err.String())
			}
			text, after, _ := strings.Cut(p.out.String(), "AFTER\n")
			for _, c := range commands {
				if !strings.Contains(text, "\n"+c+" ") {
					t.Errorf("the demo does not print %s", c)
				}
			}
			if !strings.Contains(text, "acted 5,") || strings.Contains(after, "CLOSE_WAIT") {
				t.Errorf("%s\nafter it:\n%s\n%s", text, after, p.err.String())
			}
			for _, port := range []string{"5432", "8443", "21117"} {
				if !regexp.MustCompile(`"port":` + port + `,"state":"ESTABLISHED"`).MatchString(after) {
					t.Errorf("port %s has lost its connections:\n%s", port, after)
				}
			}
			p.leavesNothing(t)
		})
	}
}

// TestDemoKilled: whatever ends the demo ends everything in it.
func TestDemoKilled(t *testing.T) {
	socklab.Need(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		in, keep, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := demo(t, in)
		p.Stdout = nil
		out, err := p.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		var seen []byte
		for b := make([]byte, 4096); !bytes.Contains(seen, []byte("--live")); {
			n, err := out.Read(b)
			if seen = append(seen, b[:n]...); err != nil {
				t.Fatalf("%v\n%s%s", err, seen, p.err.String())
			}
		}
		if err := p.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, out) // until the last process is gone
			ended <- errors.Join(err, p.Wait())
		}()
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Errorf("%v: processes of the demo go on", sig)
		}
		_ = keep.Close()
		_ = in.Close()
		p.leavesNothing(t)
	}
}
