package ruletest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/explain"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// why says what decides about a socket: the first part of the condition that is not true, or
// what spares it. It takes one more look, at this moment.
func (p *play) why(ctx context.Context, x *rules.TestExpect, a *actor) string {
	if !p.there(a) || a == p.nobody || a.sock.Cookie == 0 {
		return ""
	}
	asked := p.program.Rules
	if r := p.program.Rule(x.Rule); r != nil {
		asked = []*rules.Rule{r}
	}
	if f := p.main(a, x.Rule); f != nil && (x.Decision == rules.ExpectNone || !p.hiddenOwner(a)) {
		return "" // what came says it
	}
	about := slices.DeleteFunc(slices.Clone(asked), func(r *rules.Rule) bool { return !r.When.MayHold().States.Has(a.sock.State) })
	switch {
	case len(about) > 0:
		asked = about
	case x.Rule == "":
		return fmt.Sprintf("no rule is about %s", a.sock.State)
	}
	selection, err := rules.NewSelection(rules.Selection{
		Name: "test", Text: fmt.Sprintf("cookie == %q", cookieText(a)), Mode: rules.ModeObserve, NetNS: strings.Join(p.program.NetNS, ","),
	})
	if err != nil {
		return err.Error()
	}
	found, err := p.Explain(ctx, p.program, explain.Question{Selection: selection, Rules: asked}, 0)
	if err != nil {
		return err.Error()
	}
	if len(found.Sockets) == 0 {
		return fmt.Sprintf("no rule looks at it: it is %s in %s", a.sock.State, a.namespace.Name)
	}
	s := found.Sockets[0]
	if a.recorded == nil && s.OwnerHidden() && s.Main != nil && s.Main.Decision == report.DecideGuarded {
		return "the test does not say who has it: give process, pid, or owned: false"
	}
	v := s.Main
	if v == nil {
		return fmt.Sprintf("no rule is about %s", a.sock.State)
	}
	unknown := "is not given"
	if a.recorded != nil {
		unknown = "is not known"
	}
	return verdict(s, v, unknown)
}

// hiddenOwner reports whether the test leaves open who has a socket.
func (p *play) hiddenOwner(a *actor) bool { return a.sock.Inode != 0 && len(a.sock.Owners) == 0 }

func cookieText(a *actor) string {
	v, _ := collectors.Value(collectors.FieldCookie, &collectors.Record{Known: collectors.Fields(collectors.FieldCookie), Socket: &a.sock.Socket})
	return fmt.Sprint(v)
}

// verdict says what one rule says.
func verdict(s *explain.Socket, v *explain.Verdict, unknown string) string {
	if v.Decision != explain.None {
		if v.Decision == report.DecideAct {
			return ""
		}
		return v.Rule.Name + ": " + v.Text()
	}
	d := v.Details()
	if d.Part == nil {
		return v.Rule.Name + ": " + v.Reason
	}
	text := fmt.Sprintf("%s: %s is %s", v.Rule.Name, explain.PartText(d.Part), d.Part.Value)
	if values := read(s, d.Part, unknown); values != "" {
		text += " (" + values + ")"
	}
	return text
}

// read says which values a part of a condition has read.
func read(s *explain.Socket, p *explain.Part, unknown string) string {
	var texts []string
	for _, name := range p.Names {
		f, isField := collectors.FieldByName(name)
		switch {
		case isField && (f == collectors.FieldAgeMax || f == collectors.FieldAgeSource) && len(p.Names) > 1:
			continue
		case isField && f == collectors.FieldAge && s.Facts.Age.Source != collectors.AgeNone:
			texts = append(texts, "age is "+explain.AgeText(s.Facts.Age))
		case p.Reads[name] != nil:
			texts = append(texts, fmt.Sprintf("%s is %s", name, quoted(p.Reads[name])))
		case isField:
			texts = append(texts, name+" "+unknown)
		}
	}
	return strings.Join(texts, ", ")
}

func quoted(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case float64:
		return fmt.Sprint(collectors.Rounded(v))
	}
	return fmt.Sprint(v)
}
