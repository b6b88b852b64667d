package rules

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// address is an address of the web, which may hold a token.
var address = regexp.MustCompile(`(?i)\b(https?://)([^\s/?#"'<>]*)([^\s"'<>]*)`)

// withoutSecrets hides what may be secret in the addresses of a text: all but their hosts.
// The text stays as long, so that columns stay right.
func withoutSecrets(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	return address.ReplaceAllStringFunc(text, func(url string) string {
		part := address.FindStringSubmatch(url)
		user, host := "", part[2]
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			user, host = host[:i], host[i:]
		}
		rest := part[3]
		if rest != "/" {
			rest = stars(rest)
		}
		return part[1] + stars(user) + host + rest
	})
}

// stars is as long as a text.
func stars(text string) string { return strings.Repeat("*", utf8.RuneCountInString(text)) }
