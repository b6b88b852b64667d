// Package draft writes files for people to go on with: from the sockets that somebody
// selected, a rules file with one rule that only observes, or a file with a test of the rules
// that judged them.
//
// In comes a Selection: the condition as far as it lasts, and the candidates of a look; or an
// Incident: candidates and what the rules say of them, and a way to try a test. Out goes
// YAML. It reads no file, asks no host and knows no flag.
package draft
