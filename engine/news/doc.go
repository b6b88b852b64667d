// Package news tells what is new: in the log, in the audit log, and in messages.
//
// Comes in: reports of cycles, and outcomes. Goes out: lines and messages, each once for
// what stands. Nothing that is slow or broken out there holds up a cycle.
package news
