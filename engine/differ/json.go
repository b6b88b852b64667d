package differ

import (
	"encoding/json"

	"sockwarden/collectors"
)

type jsonChange struct {
	Kind     Kind             `json:"change"`
	Rule     string           `json:"rule"`
	Count    int              `json:"count"`
	Living   int              `json:"living"`
	Old      Fate             `json:"old"`
	New      Fate             `json:"new"`
	Examples []map[string]any `json:"examples"`
}

// MarshalJSON writes the documented shape.
func (c *Change) MarshalJSON() ([]byte, error) {
	doc := jsonChange{Kind: c.Kind, Rule: c.Rule, Count: c.Count, Living: c.Living, Old: c.Old, New: c.New, Examples: []map[string]any{}}
	for _, cand := range c.Examples {
		if cand.NoSocket() {
			continue
		}
		r := cand.Record()
		doc.Examples = append(doc.Examples, collectors.Map(&r))
	}
	return json.Marshal(doc) //nolint:wrapcheck // encoding/json wraps it
}

type jsonDifference struct {
	Generations []string            `json:"generations"`
	Sockets     int                 `json:"sockets"`
	Changes     []*Change           `json:"changes"`
	Rules       map[string][]string `json:"rules"`
	Errors      []string            `json:"errors"`
}

// MarshalJSON writes the documented shape.
func (d *Difference) MarshalJSON() ([]byte, error) {
	doc := jsonDifference{
		Generations: []string{d.Old.Generation, d.New.Generation}, Sockets: d.Sockets, Changes: d.Changes, Rules: d.changedNames(), Errors: []string{},
	}
	for _, err := range d.Report.Errors {
		doc.Errors = append(doc.Errors, err.Error())
	}
	return json.Marshal(doc) //nolint:wrapcheck // encoding/json wraps it
}

// changedNames is what the texts changed; breaker has the old and the new one if they
// differ.
func (d *Difference) changedNames() map[string][]string {
	c := &d.Rules
	names := map[string][]string{
		"added": c.Added, "changed": c.Changed, "removed": c.Removed, "sets": c.Sets,
		"protect_added": c.ProtectAdded, "protect_changed": c.ProtectChanged, "protect_removed": c.ProtectRemoved, "breaker": nil,
	}
	if d.Old.Breaker != d.New.Breaker {
		names["breaker"] = []string{d.Old.Breaker.String(), d.New.Breaker.String()}
	}
	for k, v := range names {
		if v == nil {
			names[k] = []string{}
		}
	}
	return names
}
