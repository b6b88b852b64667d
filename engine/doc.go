// Package engine runs the cycle: it collects sockets, finds out ages and
// owners, decides by a program of rules, guards, acts, verifies and reports.
//
// Comes in: a rules.Program, collectors and actions. Goes out: a Report for each
// cycle. It is the only place that owns goroutines, timers and memory between
// cycles, and Engine.apply is the only place where an effect is applied.
package engine
