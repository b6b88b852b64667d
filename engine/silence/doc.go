// Package silence answers which findings people want left alone for a time.
//
// Comes in: files that commands and the watcher write. Goes out: the silences in force, and
// whether they spare a socket. It decides nothing else, and remembers nothing but what the
// files say.
package silence
