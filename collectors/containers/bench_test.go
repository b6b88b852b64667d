package containers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkLookup looks up unknown containers in an engine that answers at once, and
// again while the answers are still valid.
func BenchmarkLookup(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		refs := make([]Ref, size)
		list := make([]string, size)
		for i := range refs {
			refs[i].ID = fmt.Sprintf("%064x", i)
			list[i] = `{"Id":"` + refs[i].ID + `","Names":["/a"],"Image":"b","HostConfig":{"NetworkMode":"bridge"}}`
		}
		all, one := []byte("["+strings.Join(list, ",")+"]"), string(recorded(b, "docker-20.10.24-inspect.json"))
		path := engine(b, func(w http.ResponseWriter, r *http.Request) {
			id, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/containers/"), "/json")
			if !ok {
				_, _ = w.Write(all)
				return
			}
			_, _ = w.Write([]byte(strings.Replace(one, hbbr, id, 1)))
		})
		b.Run(fmt.Sprintf("new/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n, _ := asked(Places{DockerSockets: []string{path}})
				if a := n.Lookup(b.Context(), refs...); a[refs[size-1].ID].Err != nil {
					b.Fatal(a[refs[size-1].ID].Err)
				}
			}
		})
		n, _ := asked(Places{DockerSockets: []string{path}})
		n.Lookup(b.Context(), refs...)
		b.Run(fmt.Sprintf("known/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n.Lookup(b.Context(), refs...)
			}
		})
	}
	none, turned := asked(Host())
	b.Run("no engine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			turned.t = turned.t.Add(DefaultRetry)
			none.Lookup(b.Context(), Ref{ID: nobody})
		}
	})
}
