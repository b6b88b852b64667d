package containers

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// What leaves the machine is short, always the same, and contains no secret.
func TestShownLabels(t *testing.T) {
	plain := map[string]string{
		"com.docker.compose.service": "relay", "org.opencontainers.image.authors": "a", "team": "net", "url": "https://example.org/a:b@c", "empty": "",
	}
	all := maps.Clone(plain)
	for _, key := range []string{"DB_PASSWORD", "my.api-key", "api_key", "x.Token", "traefik.http.middlewares.a.basicauth.users", "client-secret", "private_key"} {
		all[key] = "x"
	}
	all["upstream"], all["two"] = "postgres://app:hunter2@db/x", "http://a/ http://u:p@b"
	all[strings.Repeat("k", maxShownKey+1)], all["long"] = "x", strings.Repeat("v", maxShownValue+1)
	if got := (&Container{Labels: all}).ShownLabels(); !maps.Equal(got, plain) {
		t.Errorf("%q", got)
	}
	many := map[string]string{}
	for i := range 2 * maxShown {
		many[fmt.Sprintf("k%03d", i)] = "v"
	}
	if got := (&Container{Labels: many}).ShownLabels(); len(got) != maxShown || got["k000"] != "v" || got["k040"] != "" {
		t.Errorf("%q", got)
	}
	for key := range many {
		many[key] = strings.Repeat("v", maxShownValue)
	}
	if got := (&Container{Labels: many}).ShownLabels(); len(got) != maxShownAll/(maxShownValue+4) {
		t.Errorf("%d", len(got))
	}
	if got := (&Container{}).ShownLabels(); got != nil {
		t.Errorf("%q", got)
	}
}
