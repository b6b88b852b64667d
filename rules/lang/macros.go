package lang

// CheckMacros finds what is wrong with the macros of a scope, each for itself, and
// notes the bad ones as broken. Those that refused says so of are broken in any case;
// of the others report gets the errors, which are none for a good one. A macro comes
// after those that it uses: what is wrong in them is reported there alone.
func (sc *Scope) CheckMacros(refused func(name string) bool, report func(name string, errs []Error)) {
	seen := map[string]bool{}
	var check func(name string)
	check = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		if refused(name) {
			sc.Broken[name] = true
			return
		}
		c := newCompiler(sc, sc.Macros[name], name)
		node, ok := c.parse(sc.Macros[name])
		if ok {
			for _, used := range namesIn(node) {
				if _, isMacro := sc.Macros[used]; isMacro {
					check(used)
				}
			}
			_, ok = c.compile(node)
		}
		if (!ok || len(c.errs) > 0) && sc.ofGroup(name) {
			return // it is for having, and refused where a socket is asked about
		}
		report(name, c.errs)
		sc.Broken[name] = !ok || len(c.errs) > 0
	}
	for _, name := range sortedKeys(sc.Macros) {
		check(name)
	}
}

// ofGroup reports whether a macro is right where a group is asked about.
func (sc *Scope) ofGroup(name string) bool {
	group := *sc
	group.Group = true
	c := newCompiler(&group, sc.Macros[name], name)
	node, ok := c.parse(sc.Macros[name])
	if ok {
		_, ok = c.compile(node)
	}
	return ok && len(c.errs) == 0
}
