package control

import (
	"os"
	"path/filepath"
	"strings"
)

// name is that of the socket in its directory.
const name = "control.sock"

// machine is the directory of what root runs.
const machine = "/run/sockwarden"

// None is what a user writes for no socket.
const None = "none"

// Default is where a watcher has its socket unless the user names a place: in the
// directory that systemd made for it, for root in that of the machine, else in the user's
// runtime directory; "" if there is none.
func Default() string { return first(defaults()) }

// Places are where clients look for a watcher, in this order. Another user than root may
// also talk to the machine's watcher, if its group allows that.
func Places() []string {
	places := defaults()
	if m := filepath.Join(machine, name); len(places) == 0 || places[len(places)-1] != m {
		places = append(places, m)
	}
	return places
}

func defaults() []string {
	var dirs []string
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); dir != "" {
		dirs = append(dirs, dir)
	}
	switch dir := os.Getenv("XDG_RUNTIME_DIR"); {
	case os.Geteuid() == 0:
		dirs = append(dirs, machine)
	case dir != "":
		dirs = append(dirs, filepath.Join(dir, "sockwarden"))
	}
	for i, dir := range dirs {
		dirs[i] = filepath.Join(dir, name)
	}
	return dirs
}

func first(places []string) string {
	if len(places) == 0 {
		return ""
	}
	return places[0]
}
