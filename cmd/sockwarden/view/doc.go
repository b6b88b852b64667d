// Package view turns values of the engine into what people and programs read: tables and
// notes of reports, lists, groups of sockets, what kill shows, checks of the host,
// plugins, fields and rules, or the same as JSON.
//
// Comes in: values of engine, rules, actions and collectors, and an Out. Goes out: text.
// It reads no flag, no file, no clock and no environment: callers pass in what depends on
// these. It decides nothing, and changes nothing but the order of what it is told to
// sort.
package view
