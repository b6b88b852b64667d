package rules

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors/trust"
	"sockwarden/rules/lang"
)

// Builtin is the name by which the embedded rules are loaded.
const Builtin = "builtin"

// DefaultDir is where rules are looked for when none are named.
const DefaultDir = "/etc/sockwarden"

// maxFile bounds a rules file, in bytes.
const maxFile = 1 << 20

//go:embed default.yaml
var builtinText string

// BuiltinText returns the text of the built-in rules.
func BuiltinText() string { return builtinText }

// Options says what to load.
type Options struct {
	// Paths are files, directories (*.yaml and *.yml in lexical order), "builtin", or "-" for the
	// standard input. If there are none, Dir is searched, and the built-in rules are taken only if
	// Dir does not exist.
	Paths []string
	Dir   string // "" for DefaultDir
	Vars  []Override
	Only  []string // names of the only rules to keep; empty for all
	NetNS string   // overrides netns of the files, "" for not
	// NeedDir makes a missing Dir an error: a watcher that had rules there never takes
	// the built-in ones instead.
	NeedDir bool
	// Breaker replaces the breaker of the files; nil keeps theirs.
	Breaker *Breaker
	// Again says that they are read again and again, so not from a pipe.
	Again bool
	// Trust makes it an error if others can write the files, as a live run must.
	Trust bool
	// Sends says that messages are sent: then Trust also holds if one of their receivers is
	// a program, as whoever writes the rules has it run, whether they act or not.
	Sends   bool
	starts  bool // they are read again with Trust for that
	Catalog Catalog
	// Notifiers lists the plugins that can be configured under actions.
	Notifiers Catalog
	// Zone is the time zone of files that name none; nil for local time.
	Zone *time.Location
	// Sets stand in place of sets of the files by these names, whose files are not read.
	Sets map[string]*Set
	// Shut leaves files with secrets unopened: nobody will send anything.
	Shut bool
	// Lists remembers the set files from one reading to the next; nil for no memory.
	Lists *Lists
}

// loader reads the files of one generation.
type loader struct {
	opts     Options
	problems problemList
	files    []*rulesFile
	watched  []string
	inputs   *inputs
	grown    map[string]*Set // lists with what a younger generation has added, nil for none
	told     map[string]bool // lists whose problems are reported
	noDir    bool
	trust    trust.Checker
	warnings Problems
}

// Load reads and compiles a generation of rules. The error is Problems or a
// *UsageError. One problem in one file rejects all of them. It returns the list of
// watched places in any case: a change there can cure it.
func Load(opts Options) (*Program, []string, error) {
	p, l, err := readAndCompile(opts)
	return p, l.watched, l.unfinished(err)
}

func readAndCompile(opts Options) (*Program, *loader, error) {
	opts.Dir = cmp.Or(opts.Dir, DefaultDir)
	if opts.Lists == nil {
		opts.Lists = &Lists{}
	}
	l := &loader{opts: opts, inputs: &inputs{sets: map[string]*list{}}, told: map[string]bool{}}
	l.readAll()
	opts.Lists.forget()
	p, err := l.program()
	if err == nil && opts.Sends && !opts.Trust && p.runsPrograms(opts.Notifiers) {
		opts.Trust, opts.starts = true, true
		return readAndCompile(opts)
	}
	return p, l, err
}

// runsPrograms reports whether a receiver of messages is a program of this host.
func (p *Program) runsPrograms(notifiers Catalog) bool {
	for _, n := range p.Notifiers {
		if spec, ok := notifiers.find(n.Plugin); ok && slices.ContainsFunc(spec.Params, func(q Param) bool { return q.Program }) {
			return true
		}
	}
	return false
}

// who does not trust what others could have written.
func (o *Options) who() string {
	if o.starts {
		return "a run whose messages start programs does not trust it"
	}
	return "a live run does not trust it"
}

// program compiles what was read.
func (l *loader) program() (*Program, error) {
	// What comes from the command line is judged only if all files are read.
	if err := l.applyVars(); err != nil && l.problems.seen == 0 {
		return nil, err
	}
	p := l.compileAll()
	if l.problems.seen > 0 {
		return nil, l.problems.all()
	}
	if err := l.keepOnly(p); err != nil {
		return nil, err
	}
	for _, w := range l.warnings {
		p.warnings.add(w)
	}
	for _, w := range leftOver(p.ignored, len(l.opts.Vars) == 0) {
		p.warnings.add(w)
	}
	p.Watched, p.NoDefaultDir, p.Warnings = l.watched, l.noDir, p.warnings.all()
	p.opts, p.inputs = l.opts, l.inputs
	p.Generation, p.text = l.inputs.digest(&l.opts)
	p.seal()
	return p, nil
}

func (l *loader) fail(id lang.ID, path, format string, args ...any) {
	l.problems.add(Problem{ID: id, File: path, Message: fmt.Sprintf(format, args...)})
}

// warn notes what is valid, but maybe not meant, about a file as a whole.
func (l *loader) warn(path, message string) {
	l.warnings = append(l.warnings, Problem{ID: idNotRead, File: path, Message: message})
}

func (l *loader) readAll() {
	paths := l.opts.Paths
	if len(paths) == 0 {
		paths = l.defaultPaths()
	}
	for _, p := range paths {
		if p == Builtin {
			l.add(Builtin, builtinText)
			continue
		}
		if p == Stdin {
			p = "/dev/stdin"
		}
		info, err := os.Stat(p)
		if fd, ok := inherited(p); ok && (err != nil || !info.Mode().IsRegular() && !info.IsDir()) {
			l.readStream(p, fd)
			continue
		}
		if err == nil && info.IsDir() {
			l.readDir(p)
			continue
		}
		l.readFile(p)
	}
}

// defaultPaths is rules.yaml and rules.d of the directory, or the built-in
// rules if it does not exist.
func (l *loader) defaultPaths() []string {
	dir := l.opts.Dir
	l.watched = append(l.watched, dir)
	l.inputs.noteDir(dir)
	_, linkErr := os.Lstat(dir) // a dangling link is there
	switch info, err := os.Stat(dir); {
	case errors.Is(linkErr, fs.ErrNotExist) && l.opts.NeedDir:
		l.fail(idUnreadable, dir, "is gone: a watcher that had rules there does not take the built-in ones instead")
		return nil
	case errors.Is(linkErr, fs.ErrNotExist):
		l.noDir = true
		return []string{Builtin}
	case errors.Is(err, fs.ErrNotExist):
		l.fail(idUnreadable, dir, "is a symbolic link that leads nowhere")
		return nil
	case err != nil:
		l.fail(idUnreadable, dir, "%v", unreadable(err))
		return nil
	case !info.IsDir():
		l.fail(idUnreadable, dir, "is not a directory")
		return nil
	case !l.trusted(dir):
		return nil
	}
	var paths []string
	main := filepath.Join(dir, "rules.yaml")
	if _, err := os.Lstat(main); err == nil {
		paths = append(paths, main)
	}
	other := filepath.Join(dir, "rules.yml")
	if _, err := os.Lstat(other); err == nil {
		l.warn(other, "is not read: call it rules.yaml, or move it into rules.d")
	}
	sub := filepath.Join(dir, "rules.d")
	l.watched = append(l.watched, sub)
	l.inputs.noteDir(sub)
	if _, err := os.Lstat(sub); err == nil {
		files, ok := l.yamlFiles(sub)
		if !ok {
			return paths
		}
		paths = append(paths, files...)
	}
	if len(paths) == 0 {
		l.fail(idNoRules, dir, "the directory exists but has no rules.yaml and nothing in rules.d; add rules, or name the built-in ones: --rules builtin")
		for _, w := range l.warnings { // why there is nothing
			l.problems.add(w)
		}
	}
	return paths
}

// yamlFiles lists the rules files of a directory in lexical order.
func (l *loader) yamlFiles(dir string) (files []string, ok bool) {
	if !l.trusted(dir) {
		return nil, false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.fail(idUnreadable, dir, "%v", unreadable(err))
		return nil, false
	}
	for _, e := range entries {
		name := e.Name()
		switch ext := filepath.Ext(name); {
		case ext != ".yaml" && ext != ".yml", strings.HasPrefix(name, "."):
		case IsTestFile(name):
			l.skipTest(filepath.Join(dir, name))
		default:
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files, true
}

// trusted says whether a live run may go by what is in a directory: whoever can take
// files away can take away what they protect.
func (l *loader) trusted(dir string) bool {
	if !l.opts.Trust {
		return true
	}
	err := l.trust.Dir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.fail(idUntrusted, dir, "%s: %v", l.opts.who(), err)
		return false
	}
	return true
}

// idOfFile is the kind of problem of a file that is not read.
func idOfFile(err error) lang.ID {
	if errors.Is(err, trust.ErrForeign) {
		return idUntrusted
	}
	return idUnreadable
}

// unreadable drops the path from the error of a system call.
func unreadable(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}

func (l *loader) readDir(dir string) {
	l.watched = append(l.watched, dir)
	l.inputs.noteDir(dir)
	files, ok := l.yamlFiles(dir)
	if len(files) == 0 && ok {
		l.fail(idNoRules, dir, "no rules in this directory: name the files *.yaml or *.yml")
	}
	sub := filepath.Join(dir, "rules.d")
	if info, err := os.Stat(sub); err == nil && info.IsDir() {
		l.warn(sub, "is not read, as no directory within one is: name it, too")
	}
	for _, f := range files {
		l.readFile(f)
	}
}

func (l *loader) readFile(path string) {
	l.watched = append(l.watched, path)
	text, err := l.read(path)
	if err != nil {
		l.problems.add(Problem{ID: idOfFile(err), File: path, Message: err.Error()})
		return
	}
	l.add(path, text)
}

func (l *loader) add(path, text string) {
	l.inputs.files = append(l.inputs.files, input{path, text})
	l.parse(path, text)
}

// parse reads the structure of a file and its set files.
func (l *loader) parse(path, text string) {
	f := newRulesFile(path, text, &l.problems)
	if _, ok := inherited(path); ok {
		f.names.files.path = "" // names in it are relative to the working directory, not to the file
	}
	f.names.files.readSet, f.names.files.grownSet = l.listOf, func(p string) *Set { return l.grown[p] }
	f.notifiers.checkSecret = l.checkSecret
	if l.opts.Shut {
		f.notifiers.checkSecret = func(string) (string, error) { return "", nil }
	}
	if l.opts.Zone != nil {
		f.defaults.zone = l.opts.Zone
	}
	f.names.replaced = l.opts.Sets
	f.parse(l.opts.Catalog, l.opts.Notifiers)
	l.warnings = append(l.warnings, f.notifiers.warnings...)
	l.files = append(l.files, f)
}

// applyVars sets variables from the command line in every file that has them.
func (l *loader) applyVars() error {
	for _, o := range l.opts.Vars {
		found, known := false, map[string]bool{}
		for _, f := range l.files {
			for name := range f.names.vars {
				known[name] = true
			}
			v, ok := f.names.vars[o.Name]
			if !ok {
				continue
			}
			found = true
			changed, err := v.override(o)
			if err != nil {
				return &UsageError{"--var: " + err.Error()}
			}
			f.names.vars[o.Name] = changed
		}
		if !found {
			names := sortedKeys(known)
			hint := Suggest(o.Name, names)
			if hint == "" && len(names) > 0 {
				hint = " (known: " + strings.Join(names, ", ") + ")"
			}
			return &UsageError{fmt.Sprintf("--var: no rules file has a variable %q%s", o.Name, hint)}
		}
	}
	return nil
}

func (l *loader) keepOnly(p *Program) error {
	if len(l.opts.Only) == 0 {
		return nil
	}
	var names []string
	for _, r := range p.Rules {
		names = append(names, r.Name)
	}
	for _, o := range l.opts.Only {
		if !slices.Contains(names, o) {
			return &UsageError{fmt.Sprintf("--rule: no rule %q%s; there are %s", o, Suggest(o, names), strings.Join(names, ", "))}
		}
	}
	p.Rules = slices.DeleteFunc(p.Rules, func(r *Rule) bool { return !slices.Contains(l.opts.Only, r.Name) })
	return nil
}
