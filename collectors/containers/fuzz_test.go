package containers

import (
	"strings"
	"testing"
	"unicode"
)

// FuzzAnswer reads any text as the answer of an engine and as each of its files: nothing
// in the result can send control codes to a terminal.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{
		"docker-20.10.24-inspect.json", "docker-20.10.24-list.json", "docker-20.10.24-config.v2.json", "podman-4.3.1-inspect.json",
		"podman-4.3.1-list.json", "podman-4.3.1-containers.json", "podman-4.3.1-config.json",
		"containerd-1.6.20-config.json",
	} {
		f.Add(recorded(f, name))
	}
	f.Add([]byte(`{"annotations":{"io.kubernetes.cri.sandbox-namespace":"a","io.kubernetes.cri.sandbox-name":"b","io.kubernetes.cri.container-name":"c"}}`))
	f.Add([]byte(`{"Id":"` + hbbr + `","Name":"a","NetworkSettings":{"Ports":{"1/tcp":[{"HostIp":"fe80::1%a","HostPort":"1"}]},` +
		`"Networks":{"n":{"IPAddress":"fe80::1%b"}}}}`))
	f.Add([]byte(`[{"id":"` + hbbr + `","names":["k8s_a_b_c_d_0"],"metadata":"{}"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []Container
		if c, err := parseInspected(b, Docker); err == nil {
			all = append(all, c)
		}
		if c, err := parseBundle(b, Ref{ID: hbbr}); err == nil {
			all = append(all, c)
		}
		listed, _ := parseListed(b, Docker)
		stored, _ := parseStorage(b)
		for _, c := range append(append(all, listed...), stored...) {
			if !isID(c.ID) || !c.Has(PartName) || !isName(c.Name) || c.InitPID < 0 {
				t.Errorf("%+v", c)
			}
			words := []string{c.Name, c.Pod, c.Image, c.ComposeService, c.NetworkMode, c.SandboxKey}
			for key, value := range c.Labels {
				words = append(words, key, value)
			}
			for _, p := range c.Published {
				words = append(words, p.Protocol, p.Host.String(), p.Container.String())
				if p.Host.Port() == 0 || p.Container.Port() == 0 || !p.Host.Addr().IsValid() {
					t.Errorf("%+v", p)
				}
			}
			for _, s := range words {
				if len(s) > maxLabel || strings.ContainsFunc(s, unicode.IsControl) {
					t.Errorf("%q", s)
				}
			}
		}
	})
}
