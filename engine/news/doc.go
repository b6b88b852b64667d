// Package news says what is new: in the log, in the audit log, and in messages.
//
// Comes in: reports of cycles, and outcomes. Goes out: lines and messages, each only once
// as long as its subject lasts. A slow or broken receiver never holds up a cycle.
package news
