// Package actiontest is the suite that every action passes, for tests of this module
// only.
//
// Comes in: the plugin of an action and how to make targets for it, with real sockets and
// processes from package socklab. Goes out: test failures where the action breaks the
// contract of package actions. What is special about an action is tested beside it.
package actiontest
