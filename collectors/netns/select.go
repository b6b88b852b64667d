package netns

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Select returns the namespaces that a specification means: "host" (also for
// ""), "all", or any of these separated by commas: a name, a pattern of names as in
// a shell, or a path that leads to a namespace. The error is a *MissingError if one of
// them means none.
func Select(spec string) ([]Handle, error) {
	if spec == "" || spec == HostName {
		h, err := Host()
		return []Handle{h}, err
	}
	all, err := List()
	if err != nil || spec == "all" {
		return all, err
	}
	var selected []Handle
	for name := range strings.SplitSeq(spec, ",") {
		found, err := one(all, strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		for _, h := range found {
			if !slices.ContainsFunc(selected, func(s Handle) bool { return s.Inode == h.Inode }) {
				selected = append(selected, h)
			}
		}
	}
	return selected, nil
}

// one returns the namespaces that a name, a pattern or a path means.
func one(all []Handle, name string) (found []Handle, err error) {
	if i := slices.IndexFunc(all, func(h Handle) bool { return h.Named(name) }); i >= 0 {
		return all[i : i+1], nil
	}
	switch {
	case filepath.IsAbs(name):
		h, err := atPath(all, name)
		return []Handle{h}, err
	case IsPattern(name):
		for _, h := range all[1:] {
			if slices.ContainsFunc(append([]string{h.Name}, h.Others...), func(n string) bool { return Matches(name, n) }) {
				found = append(found, h)
			}
		}
	}
	if len(found) == 0 {
		return nil, missing(name, all)
	}
	return found, nil
}

// IsPattern reports whether a name stands for several, as in a shell. net:[inode], which
// shows a namespace without a name, is not a pattern.
func IsPattern(name string) bool {
	_, err := path.Match(name, "")
	shown := strings.HasPrefix(name, "net:[") && strings.HasSuffix(name, "]")
	return err == nil && strings.ContainsAny(name, "*?[") && !filepath.IsAbs(name) && !shown
}

// Matches reports whether a pattern matches a name. No pattern matches the host: the user
// asks for it by its name, or not at all.
func Matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil && name != HostName
}
