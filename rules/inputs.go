package rules

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// inputs is what a generation was read from: enough to compile it again.
type inputs struct {
	files    []input          // rules files, in their order
	sets     map[string]*list // by path
	setOrder []string         // each time that a rules file names one
	writing  []string         // what others had open for writing
	stamps   []stamp
}

type input struct{ path, text string }

// digest names a generation by its texts and options, and also without the texts of sets.
// The names of files are not part of it: the same rules have the same name wherever they
// lie.
func (in *inputs) digest(o *Options) (all, text string) {
	h := sha256.New()
	part := func(kind, s string) { fmt.Fprintf(h, "%s %d\n%s\n", kind, len(s), s) }
	part("options", fmt.Sprint(o.Vars, o.Only, o.NetNS))
	for _, f := range in.files {
		part("rules", f.text)
	}
	text = fmt.Sprintf("%x", h.Sum(nil))
	for _, path := range in.setOrder {
		part("set", string(in.sets[path].digest[:]))
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), text
}

// SameText reports whether two generations differ in nothing but their set files.
func (p *Program) SameText(o *Program) bool { return p.text == o.text }

// BeingWritten names the files that another process had open for writing when p was read,
// except those that the generation before had with the same content.
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

// content tells the content of one file from any other.
func (in *inputs) content(path string) (string, bool) {
	if l, ok := in.sets[path]; ok {
		return string(l.digest[:]), true
	}
	for _, f := range in.files {
		if f.path == path {
			return f.text, true
		}
	}
	return "", false
}

// Grown returns p with the whole lines that a younger generation has added to set files,
// where a set can only make the condition of a rule (when) true of more: whoever adds a
// line asks for that. What unless, protect or a negation asks stays as it was. It returns
// p itself if there is nothing to add.
func (p *Program) Grown(younger *Program) *Program {
	grown := map[string]*Set{}
	if p.inputs != nil && younger.inputs != nil {
		grown = p.inputs.grown(younger.inputs)
	}
	if len(grown) == 0 {
		return p
	}
	l := &loader{opts: p.opts, inputs: p.inputs, grown: grown, told: map[string]bool{}, watched: p.Watched, noDir: p.NoDefaultDir}
	for _, f := range p.inputs.files {
		l.parse(f.path, f.text)
	}
	program, err := l.program()
	if err != nil {
		return p // what was added does not go together with these rules
	}
	return program
}

// grown returns the sets of the lists to which a younger generation has added whole
// lines, with these lines. It leaves out what does not go together: then only the younger
// one has it.
func (in *inputs) grown(younger *inputs) map[string]*Set {
	grown := map[string]*Set{}
	for path, was := range in.sets {
		now := younger.sets[path]
		if now == nil || now == was || was.set == nil || now.whole == nil {
			continue
		}
		if more := was.set.With(now.whole); more != nil && more != was.set {
			grown[path] = more
		}
	}
	return grown
}

// Wider returns what to look at for p and all of the others, with the rules of p.
func (p *Program) Wider(others ...*Program) *Program {
	w := *p
	w.Query.Clauses, w.NetNS, w.Query.Protocols = slices.Clone(p.Query.Clauses), slices.Clone(p.NetNS), slices.Clone(p.Query.Protocols)
	for _, o := range others {
		w.Reads.Add(o.Reads)
		w.Query.States |= o.Query.States
		w.Query.Fields.Add(o.Query.Fields)
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
