package containers

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxName bounds the names of containers, services, pods and images, in bytes: two
	// Kubernetes names (253 each, RFC 1123 subdomains) and a registry fit.
	maxName = 1024
	// maxLabels bounds the labels of a container, and maxLabel each key and value.
	maxLabels, maxLabel = 256, 4096
	// maxPorts bounds published ports: all of both protocols, twice.
	maxPorts = 4 * 65536
	// maxAddrs bounds the networks of a container.
	maxAddrs = 256
)

// isName reports whether engines accept such a name for a container ([a-zA-Z0-9_.-]+).
func isName(s string) bool {
	return s != "" && len(s) <= maxName && strings.IndexFunc(s, func(r rune) bool {
		return r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_.-", r)
	}) < 0 && s != "." && s != ".."
}

// isText reports whether a text is short enough and consists of printable characters.
func isText(s string, longest int) bool {
	return len(s) <= longest && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// text returns a printable text unchanged, and "" for anything else.
func text(s string) string {
	if !isText(s, maxName) {
		return ""
	}
	return s
}

// labels returns the labels that are printable.
func labels(all map[string]string) map[string]string {
	kept := make(map[string]string, min(len(all), maxLabels))
	for _, key := range slices.Sorted(maps.Keys(all)) { // the same ones every time
		if len(kept) < maxLabels && key != "" && isText(key, maxLabel) && isText(all[key], maxLabel) {
			kept[key] = all[key]
		}
	}
	return kept
}

// composeService returns the Compose service of a container, podman's included.
func composeService(labels map[string]string) string {
	for _, key := range []string{"com.docker.compose.service", "io.podman.compose.service"} {
		if s := labels[key]; isName(s) {
			return s
		}
	}
	return ""
}

// podName is "NAMESPACE/NAME", "" if one of them is not a valid name.
func podName(namespace, name string) string {
	if !isName(namespace) || !isName(name) {
		return ""
	}
	return namespace + "/" + name
}

// kubeName reads the name that CRI-O and the kubelet's way through Docker (cri-dockerd)
// give to containers: k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT, where no part contains an
// underscore. Labels and annotations say the same, but the author of an image or a pod
// can choose some of them.
func kubeName(s string) (container, pod, uid string, ok bool) {
	parts := strings.Split(s, "_")
	if len(parts) != 6 || parts[0] != "k8s" || !isName(parts[1]) || !isName(parts[4]) {
		return "", "", "", false
	}
	pod = podName(parts[3], parts[2])
	return parts[1], pod, parts[4], pod != ""
}
