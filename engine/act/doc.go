// Package act does what was decided, or says what would be done.
//
// Comes in: a judge.Cycle. Goes out: results in its findings, and a call of its teller
// (news) for each outcome. A Hand acts: it is only made for a live run. A Rehearsal prepares
// effects and cannot apply them. Before each effect comes a last look (lastlook.go); a
// ladder is a rule's actions on one target.
//
// It decides nothing anew: what changed since the verdict is left alone.
package act
