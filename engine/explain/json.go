package explain

import (
	"encoding/json"
	"maps"

	"sockwarden/collectors"
	"sockwarden/engine/judge"
	"sockwarden/engine/report"
	"sockwarden/rules/lang"
)

// One is what one rule says about one socket, in the form of the JSON output.
type One struct {
	Socket  *Socket
	Verdict *Verdict
}

// All returns the explanation of every socket by every rule.
func (x *Explanation) All() []One {
	var all []One
	for _, s := range x.Sockets {
		for _, v := range s.Verdicts {
			all = append(all, One{s, v})
		}
	}
	return all
}

type jsonPart struct {
	Value   string            `json:"value"`
	Text    string            `json:"text"`
	Op      lang.Op           `json:"op"`
	Name    string            `json:"name,omitempty"` // of a macro
	Reads   map[string]any    `json:"reads"`
	Unknown map[string]string `json:"unknown"`
	Parts   []*jsonPart       `json:"parts"`
}

type jsonOne struct {
	Rule    string          `json:"rule"`
	Socket  map[string]any  `json:"socket"`
	Verdict report.Decision `json:"verdict"`
	Reason  string          `json:"reason"`
	Decides string          `json:"decides,omitempty"` // the text of a part
	Cure    string          `json:"cure,omitempty"`
	Owner   string          `json:"owner,omitempty"` // the one of several owners that decides
	When    *jsonPart       `json:"when"`
	Group   map[string]any  `json:"group,omitempty"`
	Gates   []jsonGate      `json:"gates"`
}

type jsonGate struct {
	Gate   string `json:"gate"`
	Spares bool   `json:"spares"`
	Reason string `json:"reason"`
}

// MarshalJSON writes the documented shape.
func (o One) MarshalJSON() ([]byte, error) {
	v, d, r := o.Verdict, o.Verdict.Details(), o.Socket.Record()
	gates := make([]jsonGate, 0, len(d.Gates))
	for _, a := range d.Gates {
		gates = append(gates, jsonGate{a.Gate, a.Spares, reasonOf(a)})
	}
	doc := jsonOne{
		Rule: v.Rule.Name, Socket: map[string]any{}, Verdict: v.Decision, Reason: v.Reason, Cure: d.Cure, When: partJSON(&d.When), Gates: gates,
	}
	if d.Part != nil {
		doc.Decides = oneLine(d.Part.Text)
	}
	if !o.Socket.NoSocket() {
		doc.Socket = collectors.Map(&r)
	}
	if d.Owner != nil {
		doc.Owner = d.Owner.String()
	}
	if d.Group != nil {
		doc.Group = d.Group.Describe()
		if d.Having != nil {
			doc.Group["having"] = partJSON(d.Having)
		}
	}
	return json.Marshal(doc) //nolint:wrapcheck // encoding/json wraps it
}

func reasonOf(a judge.Answer) string {
	if a.Decision == report.DecideAct {
		return ""
	}
	return a.Reason
}

func partJSON(p *lang.Part) *jsonPart {
	out := &jsonPart{
		Value: p.Value.String(), Text: oneLine(p.Text), Op: p.Op, Name: p.Name, Reads: map[string]any{}, Unknown: map[string]string{}, Parts: []*jsonPart{},
	}
	for name, v := range p.Reads {
		if n, ok := v.(float64); ok {
			v = collectors.Rounded(n)
		}
		out.Reads[name] = v
	}
	maps.Copy(out.Unknown, p.Unknown)
	for i := range p.Parts {
		out.Parts = append(out.Parts, partJSON(&p.Parts[i]))
	}
	return out
}
