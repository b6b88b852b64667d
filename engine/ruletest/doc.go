// Package ruletest runs tests of rules: the real engine over an invented world with a clock
// that moves only when a test says so. It needs no root and no kernel.
//
// Comes in: test files, as package rules reads them, and the actions that rules can name.
// Goes out: for each test whether it passed, and otherwise what was expected, what came,
// and the first part of the condition that decided; and what of the rules no test has
// tried.
//
// It opens the rules files that a test names, and the files of sets that it does not
// replace; nothing else of the host.
package ruletest
