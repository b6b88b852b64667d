package news

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// messages has the outbox send what rules want to report.
type messages struct {
	clock  world.Clock
	host   string
	known  *memory.Memory
	outbox *Outbox
}

// Listens is false: reports are enough.
func (n *messages) Listens() bool { return false }

// Decision sends nothing: the end of the cycle does.
func (n *messages) Decision(string, string, *report.Finding) {}

// Outcome sends nothing.
func (n *messages) Outcome(context.Context, *report.Outcome) {}

// Cycle sends a message for each rule that wants it and has findings that are new or
// whose fate has changed (of more of the same not each time, see worth), and one when none
// of them is left. A group is a single finding, whichever sockets it has; a pending finding
// does not count yet.
func (n *messages) Cycle(ctx context.Context, p *rules.Program, r *report.Report) {
	n.outbox.Serve(p.Notifiers)
	now, kind := n.clock.Mono(), "notified-"+r.Mode
	news, changed, standing := n.sort(r.Findings, kind, now)
	ended := map[string][]memory.Told{}
	if !r.Incomplete {
		ended = n.known.Ended(kind, func(rule string) bool { return p.Rule(rule) != nil }, now)
	}
	n.known.Ended(known(kind), func(rule string) bool { return p.Rule(rule) == nil }, now) // it may come back, and say something else
	for _, rule := range p.Rules {
		m := actions.Message{Time: n.clock.Now(), Host: n.host, Mode: r.Mode, Rule: rule.Name, Labels: rule.Labels, Generation: r.Generation}
		over := len(ended[rule.Name]) > 0 && !n.known.AnyTold(kind+" "+rule.Name+" ")
		switch {
		case over:
			m.Event, m.Lasted = actions.EventOver, lasted(ended[rule.Name], now)
			n.known.Ended(known(kind), func(name string) bool { return name == rule.Name }, now)
		default:
			tell := n.worth(kind, rule, news[rule], standing[rule], now)
			if changed[rule] {
				tell = news[rule]
			}
			if len(tell) > 0 {
				describe(&m, tell)
			}
		}
		for _, name := range rule.Notify {
			config := p.Notifiers[name]
			d, _ := actions.DeliveryOf(config.Params)
			to := m
			if m.Event == "" && d.Repeat > 0 && n.repeats(kind, rule.Name, name, d.Repeat, len(standing[rule]) > 0, now) {
				describe(&to, standing[rule])
				to.Event, to.Lasted = actions.EventStands, n.since(kind, rule.Name, now)
			}
			if to.Event == "" || over && !d.Resolved {
				continue
			}
			if d.Repeat > 0 {
				n.known.Tell(repeated(kind, rule.Name, name), "said", now)
			}
			n.outbox.Enqueue(ctx, name, config, to)
		}
	}
}

// sort returns the findings of each rule that are news, whether people know one of these with
// another fate, and all that stand.
func (n *messages) sort(findings []*report.Finding, kind string, now float64) (news map[*rules.Rule][]*report.Finding, changed map[*rules.Rule]bool, standing map[*rules.Rule][]*report.Finding) {
	news, changed, standing = map[*rules.Rule][]*report.Finding{}, map[*rules.Rule]bool{}, map[*rules.Rule][]*report.Finding{}
	told := map[string]bool{}
	for _, f := range findings {
		key := report.Standing(f)
		if len(f.Rule.Notify) == 0 || f.Decision == report.DecidePending && !f.Unsettled {
			continue
		}
		if !f.Muted {
			standing[f.Rule] = append(standing[f.Rule], f)
		}
		name := kind + " " + key.String()
		switch {
		case f.Unsettled, f.Muted:
			n.known.Stands(name, now)
		case told[name]: // another socket of the group
			if len(news[f.Rule]) > 0 {
				news[f.Rule] = append(news[f.Rule], f)
			}
		default:
			told[name] = true
			if was := n.known.Tell(name, what(f), now); was != what(f) {
				news[f.Rule] = append(news[f.Rule], f)
				changed[f.Rule] = changed[f.Rule] || was != ""
			}
		}
	}
	return news, changed, standing
}

// worth returns what to tell of the findings of a rule: those that are news, if some of them
// ended as none that people know of; all that stand, if they have become much more than people
// know of; else nothing, so that a leak that grows is one and not a hundred messages. A group
// is worth telling by itself.
func (n *messages) worth(kind string, rule *rules.Rule, news, standing []*report.Finding, now float64) (tell []*report.Finding) {
	if rule.Grouped() {
		return news
	}
	all := map[string]int{}
	for _, f := range standing {
		all[what(f)]++
	}
	for _, f := range news {
		as := known(kind) + " " + rule.Name + " " + what(f)
		most, _ := strconv.Atoi(n.known.Told[as].As)
		if float64(all[what(f)]) > muchMore*float64(most) {
			n.known.Tell(as, strconv.Itoa(all[what(f)]), now)
			tell = standing
		}
	}
	for _, f := range news {
		if result := string(f.Last().Result); n.known.Tell(known(kind)+" "+rule.Name+" ended "+result, "said", now) == "" {
			tell = news
		}
	}
	return tell
}

// known is the kind under which memory keeps of how many findings of a rule people know, by
// what will happen to them, and which results.
func known(kind string) string { return "most-" + kind }

// repeated is the key under which memory keeps when a receiver last heard of a rule.
func repeated(kind, rule, receiver string) string {
	return "last-" + kind + " " + rule + " " + receiver
}

// repeats reports whether to tell a receiver again of what a rule still finds. What it
// does not find any more is forgotten.
func (n *messages) repeats(kind, rule, receiver string, every time.Duration, stands bool, now float64) bool {
	key := repeated(kind, rule, receiver)
	last, known := n.known.Told[key]
	switch {
	case !stands:
		delete(n.known.Told, key)
		return false
	case !known: // somebody else has told it: from now on
		n.known.Tell(key, "said", now)
		return false
	}
	return now-last.Last >= every.Seconds()
}

// since is for how many seconds people have known of what a rule finds.
func (n *messages) since(kind, rule string, now float64) float64 {
	first := now
	for key, t := range n.known.Told {
		if strings.HasPrefix(key, kind+" "+rule+" ") {
			first = min(first, t.Since)
		}
	}
	return now - first
}

// lasted is how many seconds the oldest of the ended findings lasted.
func lasted(ended []memory.Told, now float64) float64 {
	first := now
	for _, t := range ended {
		first = min(first, t.Since)
	}
	return now - first
}

// describe fills in a message about the findings of one rule.
func describe(m *actions.Message, findings []*report.Finding) {
	m.Event, m.Total = actions.EventFound, len(findings)
	counts := map[string]int{}
	var order []string
	for _, f := range findings {
		what := string(f.Decision)
		if last := f.Last().Result; f.Decision == report.DecideAct && last != "" {
			what = string(last)
		}
		if f.NoSocket() {
			m.Event, m.Total = actions.EventMissing, 0
		}
		if counts[what]++; counts[what] == 1 {
			order = append(order, what)
		}
		if len(m.Lines) < MaxLinesOfMessage {
			m.Lines = append(m.Lines, Line(f, what))
			addLabels(m, f)
		}
	}
	for _, what := range order {
		m.Counts = append(m.Counts, actions.Count{What: what, Count: counts[what]})
	}
	if leak := leakText(findings[0]); leak != "" {
		if l := findings[0].Group.Leak; l != nil {
			m.FullIn = l.FullIn
		}
		m.Lines = append([]string{leak}, m.Lines[:min(len(m.Lines), MaxLinesOfMessage-1)]...)
	}
}

// addLabels adds those of the containers of a finding.
func addLabels(m *actions.Message, f *report.Finding) {
	for i := range f.Facts.Owners {
		o := &f.Facts.Owners[i]
		if name := o.InContainer(); name != "" && len(o.ContainerLabels) > 0 && len(m.ContainerLabels) < MaxLinesOfMessage {
			if m.ContainerLabels == nil {
				m.ContainerLabels = map[string]map[string]string{}
			}
			m.ContainerLabels[name] = o.ContainerLabels
		}
	}
}

// leakText says how close a process is to its limit of descriptors, "" if the rule found
// something else.
func leakText(f *report.Finding) string {
	g := f.Group
	if g == nil || g.Facts.FDs < 0 || g.Facts.FDLimit <= 0 || len(f.Facts.Owners) == 0 {
		return ""
	}
	text := fmt.Sprintf("%s has %.0f of %.0f descriptors open", f.Facts.Owners[0].String(), g.Facts.FDs, g.Facts.FDLimit)
	if l := g.Leak; l != nil && l.FullIn > 0 {
		text += growth(l.PerHour) + ": full in " + report.Short(time.Duration(l.FullIn*float64(time.Second)))
	}
	return text
}

// growth says how fast descriptors become more.
func growth(perHour float64) string {
	if perHour < 60 {
		return fmt.Sprintf(", %.0f more an hour", perHour)
	}
	return fmt.Sprintf(", %.0f more a minute", perHour/60)
}

// Line describes a finding in a message.
func Line(f *report.Finding, what string) string {
	if f.NoSocket() {
		return what + ": no socket matches"
	}
	s := &f.Socket
	text := fmt.Sprintf("%s: %s port %d peer %s", what, s.State, s.LocalPort, netip.AddrPortFrom(s.Remote.Netip(), s.RemotePort))
	if len(f.Facts.Owners) > 0 {
		text += " " + collectors.OwnerNames(f.Facts.Owners)
		if last := f.Last(); last.PID != 0 && len(f.Facts.Owners) > 1 {
			text += " (" + last.Text(f) + ")"
		}
		if name := collectors.ContainerOf(f.Facts.Owners); name != "" {
			text += " in " + name
		}
		if name := collectors.Behind(f.Facts.Owners); name != "" {
			text += " for " + name
		}
	}
	if f.Facts.Age.Min > 0 {
		text += fmt.Sprintf(" age %.0fs", f.Facts.Age.Min)
	}
	return text
}
