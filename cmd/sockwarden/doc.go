// Command sockwarden decides by rules which sockets of this host are hung or unwanted,
// and cures them.
//
// Comes in: the command line. Goes out: results on stdout, logs on stderr, and the exit
// codes in exit.go. It knows all rooms, and no room knows it. builtin.go lists the
// built-in plugins, and package view turns the results of commands into text.
package main
