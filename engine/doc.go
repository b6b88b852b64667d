// Package engine runs the cycle: it collects sockets, finds out ages and owners, decides
// by a program of rules, guards, acts, verifies and reports.
//
// Comes in: a rules.Program, collectors and actions. Goes out: a Report for each cycle.
// It only assembles its rooms (look, judge, act, news, watch) and does no work of its
// own.
package engine
