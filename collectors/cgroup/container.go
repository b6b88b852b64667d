package cgroup

import "strings"

// idLen is the length of a container id: that of a SHA-256 in hexadecimal.
const idLen = 64

// Container returns the container id of the innermost part that has one: its last
// run of exactly 64 hex digits, as docker, containerd, CRI-O and podman name
// theirs. conmon watches a container from outside, in a control group of its own,
// and is in none. "" is none.
func (p Path) Container() string {
	end := len(p)
	for i := len(p) - 1; i >= -1; i-- {
		if i >= 0 && isHex(p[i]) {
			continue
		}
		if end-(i+1) == idLen && !strings.HasSuffix(string(p[:i+1]), "conmon-") {
			return string(p[i+1 : end])
		}
		end = i
	}
	return ""
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

// Pod returns the UID of the Kubernetes pod of the innermost part that has one,
// with dashes as in metadata.uid. Pods from files have 32 hex digits without any.
// The kubelet keeps pods below a control group whose name ends with kubepods; with
// the systemd driver it repeats that in each name and writes the dashes of the UID
// as underscores. "" is none.
func (p Path) Pod() string {
	rest := string(p)
	for {
		i := strings.LastIndex(rest, "pod")
		if i < 0 {
			return ""
		}
		if id := podID(rest[i+len("pod"):]); id != "" && inKubepods(rest[:i]) {
			return id
		}
		rest = rest[:i]
	}
}

// inKubepods reports whether what stands before "podUID" is the kubelet's: a part
// above is, or with the systemd driver the same one.
func inKubepods(before string) bool {
	if before == "" || before[len(before)-1] != '/' && before[len(before)-1] != '-' {
		return false
	}
	return strings.Contains(before, "kubepods/") || strings.Contains(before, "kubepods-") || strings.Contains(before, "kubepods.slice/")
}

// podID returns the UID that s begins with, "" if it does not.
func podID(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool { return r != '-' && r != '_' && (r >= 0x80 || !isHex(byte(r))) })
	if end >= 0 {
		s = s[:end]
	}
	id := strings.ReplaceAll(s, "_", "-")
	digits := strings.ReplaceAll(id, "-", "")
	if len(digits) != 32 || len(id) != 32 && !isUUID(id) {
		return ""
	}
	return id
}

// isUUID reports whether 32 digits have their dashes where a UUID has them.
func isUUID(id string) bool {
	return len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-'
}
