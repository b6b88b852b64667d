package actiontest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
)

// documented checks what the plugin says about itself.
func (s suite) documented(t *testing.T) {
	p := s.plugin
	for what, text := range map[string]string{"name": p.Name, "summary": p.Summary, "doc": p.Doc, "needs": p.NeedsText()} {
		if strings.TrimSpace(text) != text || text == "" {
			t.Errorf("%s is %q", what, text)
		}
	}
	if strings.ContainsAny(p.Name, " _-.\n") || p.Name != strings.ToLower(p.Name) {
		t.Errorf("name %q", p.Name)
	}
	if strings.Contains(p.Summary, "\n") || strings.HasSuffix(p.Summary, ".") {
		t.Errorf("summary %q is not one line without a full stop", p.Summary)
	}
	if p.OnProcess() && p.Harmless {
		t.Error("what acts on processes is not harmless")
	}
	if len(p.Results) == 0 {
		t.Error("its results are not declared")
	}
	names := map[string]bool{}
	for _, param := range p.Params {
		if param.Name == "" || param.Doc == "" || names[param.Name] {
			t.Errorf("parameter %+v", param)
		}
		if !slices.Contains([]string{"string", "bool", "number", "duration"}, param.Type) {
			t.Errorf("parameter %s of type %q", param.Name, param.Type)
		}
		if by := param.AllowsBy != ""; param.Allows != 0 && by != (param.Type == "string") || param.Allows != 0 && !by && param.Type != "bool" {
			t.Errorf("parameter %s of type %s cannot opt in by %q", param.Name, param.Type, param.AllowsBy)
		}
		names[param.Name] = true
	}
	if p.OptIn(actions.AllowProtected) != "" && !p.Single() {
		t.Error("only what acts on one connection can be let at those of protected processes")
	}
	if p.Main != "" && !names[p.Main] {
		t.Errorf("main parameter %q is not declared", p.Main)
	}
	s.needed(t)
	s.casesFit(t)
}

// casesFit checks that the cases stay within what a rules file can say.
func (s suite) casesFit(t *testing.T) {
	t.Helper()
	all := slices.Clone(s.cases.Good)
	for _, bad := range s.cases.Bad {
		all = append(all, bad.Params)
	}
	for _, params := range all {
		for name, v := range params {
			i := slices.IndexFunc(s.plugin.Params, func(p actions.Param) bool { return p.Name == name })
			if i < 0 || s.plugin.Params[i].Type != typeOf(v) {
				t.Errorf("parameter %s: %v (%s) is not declared so", name, v, typeOf(v))
			}
		}
	}
}

func typeOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case float64:
		return "number"
	case time.Duration:
		return "duration"
	}
	return "none"
}
