package control

import (
	"context"
	"net/http"
	"net/url"
	"os"
)

// ownNamespace names the network namespace of this process, "" if that is not known.
func ownNamespace() string {
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return ""
	}
	return name
}

// Explain asks why rules take sockets or not, by the rules of that generation, "" for those
// that the watcher has. The answer has the form that the query asks for. The error is
// ErrNobody, a *Refused, or that of the context.
func (c *Client) Explain(ctx context.Context, query url.Values, generation string) ([]byte, error) {
	query.Set(inNamespace, ownNamespace())
	if generation != "" {
		query.Set(ofGeneration, generation)
	}
	_, text, err := c.send(ctx, http.MethodGet, "/v1/explain?"+query.Encode(), nil)
	return text, err
}
