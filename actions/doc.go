// Package actions defines what can be done about a socket: the target, the contract of an
// action, its outcome, and the registry. Each action is a sub-package.
//
// Comes in: a Target that the engine has decided on and guarded. Goes out: an Effect that
// says what it would do, does it when told, and checks afterwards whether it was done. An
// action decides nothing and waits for nothing.
package actions
