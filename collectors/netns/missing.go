package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MissingError says that no network namespace has that name, or that a path leads to none.
// It is fs.ErrNotExist.
type MissingError struct {
	Name string
	// Path is a file of that name that is not a namespace, "" if there is none.
	Path string
	// Known are the names of the existing namespaces, ours first; namespaces without a
	// name are not listed.
	Known []string
}

// Error names the namespace. It does not change when other namespaces come and go.
func (e *MissingError) Error() string {
	switch {
	case e.Path != "" && slices.Contains(dirs[:], filepath.Dir(e.Path)):
		return fmt.Sprintf("no network namespace %q: nothing is mounted on %s", e.Name, e.Path)
	case e.Path != "":
		return fmt.Sprintf("%s is not a network namespace", e.Path)
	case IsPattern(e.Name):
		return fmt.Sprintf("no network namespace matches %q", e.Name)
	}
	return fmt.Sprintf("no network namespace %q", e.Name)
}

// Unwrap makes it fs.ErrNotExist.
func (e *MissingError) Unwrap() error { return fs.ErrNotExist }

// Hint says which names the user can give instead.
func (e *MissingError) Hint() string {
	if others := slices.DeleteFunc(slices.Clone(e.Known), func(n string) bool { return n == HostName }); len(others) > 0 {
		return fmt.Sprintf("names under %s: %s; host means this one, all means every one", strings.Join(dirs[:], " and "), strings.Join(others, ", "))
	}
	return fmt.Sprintf("there are no names under %s: host means this one, all means every one", strings.Join(dirs[:], " or "))
}

func missing(name string, all []Handle) error {
	e := &MissingError{Name: name}
	for _, h := range all {
		if h.Name != nameless(h.Inode) {
			e.Known = append(append(e.Known, h.Name), h.Others...)
		}
	}
	if len(e.Known) > 1 {
		slices.Sort(e.Known[1:])
	}
	places := []string{name}
	switch {
	case filepath.IsAbs(name):
	case name != filepath.Base(name):
		return e
	default:
		places = []string{filepath.Join(dirs[0], name), filepath.Join(dirs[1], name)}
	}
	for _, path := range places {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			e.Path = path
			break
		}
	}
	return e
}
