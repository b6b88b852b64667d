package containers

import (
	"maps"
	"slices"
	"strings"
)

const (
	// maxShown bounds the number of labels that leave the machine, maxShownKey and
	// maxShownValue the parts of each, and maxShownAll all of them together, in bytes.
	maxShown, maxShownKey, maxShownValue, maxShownAll = 32, 128, 256, 4096
)

// secretWords occur in the keys of labels with secret values, such as those of proxies that
// ask for passwords. Dots, dashes and underscores between the letters do not count.
var secretWords = []string{"secret", "token", "passw", "passphrase", "credential", "apikey", "accesskey", "privatekey", "basicauth", "digestauth"}

// ShownLabels returns the labels for messages and programs: in order, the first that are
// short, and none that looks like a secret. It is nil if there are none.
func (c *Container) ShownLabels() map[string]string {
	var shown map[string]string
	size := 0
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		value := c.Labels[key]
		if len(key) > maxShownKey || len(value) > maxShownValue || isSecret(key, value) {
			continue
		}
		if size += len(key) + len(value); len(shown) == maxShown || size > maxShownAll {
			break
		}
		if shown == nil {
			shown = map[string]string{}
		}
		shown[key] = value
	}
	return shown
}

// isSecret reports whether a label looks secret: by its key, or by a password in a URL.
func isSecret(key, value string) bool {
	word := strings.NewReplacer(".", "", "-", "", "_", "").Replace(strings.ToLower(key))
	if slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(word, w) }) {
		return true
	}
	_, rest, found := strings.Cut(value, "://")
	for ; found; _, rest, found = strings.Cut(rest, "://") {
		host, _, _ := strings.Cut(rest, "/")
		if user, _, ok := strings.Cut(host, "@"); ok && strings.Contains(user, ":") {
			return true
		}
	}
	return false
}
