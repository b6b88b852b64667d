// Package actiontest is what every action passes, for tests of this module and
// for nothing else.
//
// Comes in: the plugin of an action and how to make targets for it, with real
// sockets and processes of package socklab. Goes out: failures of the test where
// the action breaks the contract of package actions. What is special about an
// action is tested beside it.
package actiontest
