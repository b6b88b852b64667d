package lang

// CheckMacros finds what is wrong with each macro of a scope, and notes the bad ones as
// broken. Those that refused names are broken in any case; report gets the errors of the
// others, none for a good one. A macro comes after those that it uses, whose errors are
// reported only there.
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
			return // it is for having, and refused in a question about a socket
		}
		report(name, c.errs)
		sc.Broken[name] = !ok || len(c.errs) > 0
	}
	for _, name := range sortedKeys(sc.Macros) {
		check(name)
	}
}

// ofGroup reports whether a macro is right in a question about a group.
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
