package cgroup

import "strings"

// idLen is the length of a container id: a SHA-256 in hexadecimal.
const idLen = 64

// Container returns the container id in the innermost part that has one: the last run of
// exactly 64 hex digits there, as docker, containerd, CRI-O and podman name containers.
// conmon, which watches a container from outside in its own control group, is in none. ""
// means none.
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

// Pod returns the UID of the Kubernetes pod in the innermost part that has one, with
// dashes as in metadata.uid. The UIDs of pods from files are 32 hex digits without
// dashes. The kubelet keeps pods below a control group whose name ends in kubepods; with
// the systemd driver it repeats that name in each part and writes the dashes of the UID
// as underscores. "" means none.
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

// inKubepods reports whether the text before "podUID" belongs to the kubelet: a part
// above is its, or, with the systemd driver, the same part.
func inKubepods(before string) bool {
	if before == "" || before[len(before)-1] != '/' && before[len(before)-1] != '-' {
		return false
	}
	return strings.Contains(before, "kubepods/") || strings.Contains(before, "kubepods-") || strings.Contains(before, "kubepods.slice/")
}

// podID returns the UID at the start of s, "" if there is none.
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

// isUUID reports whether an id with 32 digits has its dashes where a UUID has them.
func isUUID(id string) bool {
	return len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-'
}

// UpContainer returns the control group of the container that the path is in or below
// of, "" outside of one.
func (p Path) UpContainer() Path {
	id := p.Container()
	if id == "" {
		return ""
	}
	end := strings.LastIndex(string(p), id) + len(id)
	if more := strings.IndexByte(string(p[end:]), '/'); more >= 0 {
		return p[:end+more]
	}
	return p
}
