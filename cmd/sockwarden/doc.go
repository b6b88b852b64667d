// Command sockwarden decides by rules which sockets of this host are hung or
// unwanted, and cures them.
//
// Comes in: the command line. Goes out: results on stdout, logs on stderr, and
// the exit codes of package main's exit.go. It knows all rooms and nobody knows
// it; the built-in plugins are listed in builtin.go, and package view makes text of
// what commands come to.
package main
