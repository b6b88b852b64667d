// Package rules reads rules files and compiles them into a Program: the
// conditions that decide which sockets are hung or unwanted, and what is to be
// done about them.
//
// Comes in: YAML text, values for variables, and a Catalog of the actions that
// exist. Goes out: an immutable Program, or Problems with exact positions, all
// of them at once. It never looks at a socket by itself and never acts.
//
// What a condition means is the matter of package lang.
package rules
