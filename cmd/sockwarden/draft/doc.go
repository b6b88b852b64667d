// Package draft writes files for people to go on with: from the sockets that somebody
// selected, a rules file with one rule that only observes.
//
// In comes a Selection: the condition as far as it lasts, and the candidates of a look. Out
// goes YAML. It reads no file, asks no host and knows no flag.
package draft
