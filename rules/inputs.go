package rules

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// inputs is what a generation was read from: enough to compile it again.
type inputs struct {
	files    []input           // rules files, in their order
	sets     map[string]string // texts of the files of sets, by path
	setOrder []string
	writing  []string // what others had open for writing
	stamps   []stamp
}

type input struct{ path, text string }

// set returns the text of a set's file.
func (in *inputs) set(path string) (text string, ok bool) {
	text, ok = in.sets[path]
	return text, ok
}

// digest names a generation by its texts and options, and by that without the texts
// of sets. How files are named is none of it: the same rules have the same name
// wherever they lie.
func (in *inputs) digest(o *Options) (all, text string) {
	h := sha256.New()
	part := func(kind, s string) { fmt.Fprintf(h, "%s %d\n%s\n", kind, len(s), s) }
	part("options", fmt.Sprint(o.Vars, o.Only, o.NetNS))
	for _, f := range in.files {
		part("rules", f.text)
	}
	text = fmt.Sprintf("%x", h.Sum(nil))
	for _, path := range in.setOrder {
		part("set", in.sets[path])
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), text
}

// SameText reports whether two generations differ in nothing but the files of their
// sets.
func (p *Program) SameText(o *Program) bool { return p.text == o.text }

// BeingWritten names the files that another process had open for writing when p was
// read, of those that the generation before did not have with the same content.
func (p *Program) BeingWritten(before *Program) []string {
	if p.inputs == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.inputs.writing), func(path string) bool {
		now, ok := p.inputs.content(path)
		was, had := "", false
		if before.inputs != nil {
			was, had = before.inputs.content(path)
		}
		return ok && had && now == was
	})
}

func (in *inputs) content(path string) (string, bool) {
	if text, ok := in.sets[path]; ok {
		return text, true
	}
	for _, f := range in.files {
		if f.path == path {
			return f.text, true
		}
	}
	return "", false
}

// Grown returns p with the whole lines that a younger generation has besides in the
// files of sets, where a set can only make the condition of a rule (when) true of
// more: that is what whoever adds a line asks for. What unless, protect or a negation
// asks is as it was. It is p itself if there is nothing to add.
func (p *Program) Grown(younger *Program) *Program {
	if p.inputs == nil || younger.inputs == nil || !p.inputs.grows(younger.inputs) {
		return p
	}
	l := &loader{opts: p.opts, inputs: p.inputs, younger: younger.inputs, watched: p.Watched, noDir: p.NoDefaultDir}
	for _, f := range p.inputs.files {
		l.parse(f.path, f.text)
	}
	grown, err := l.program()
	if err != nil {
		return p // what was added does not go together with these rules
	}
	return grown
}

// grows reports whether a younger generation has more in the file of a set.
func (in *inputs) grows(younger *inputs) bool {
	for path, text := range in.sets {
		now, ok := younger.sets[path]
		if !ok || now == text {
			continue
		}
		had, more := map[string]bool{}, false
		for line := range strings.Lines(text) {
			had[entryOf(line)] = true
		}
		wholeEntries(now, func(entry string) { more = more || !had[entry] })
		if more {
			return true
		}
	}
	return false
}

// Wider returns what is to be looked at for p and all of the others: the rules are
// those of p.
func (p *Program) Wider(others ...*Program) *Program {
	w := *p
	w.Query.Clauses, w.NetNS, w.Query.Protocols = slices.Clone(p.Query.Clauses), slices.Clone(p.NetNS), slices.Clone(p.Query.Protocols)
	for _, o := range others {
		w.Reads |= o.Reads
		w.Query.States |= o.Query.States
		w.Query.Info = w.Query.Info || o.Query.Info
		w.Query.Clauses = append(w.Query.Clauses, o.Query.Clauses...)
		for _, proto := range o.Query.Protocols {
			if !slices.Contains(w.Query.Protocols, proto) {
				w.Query.Protocols = append(w.Query.Protocols, proto)
			}
		}
		for _, name := range o.NetNS {
			if !slices.Contains(w.NetNS, name) {
				w.NetNS = append(w.NetNS, name)
			}
		}
	}
	slices.Sort(w.Query.Protocols)
	return &w
}
