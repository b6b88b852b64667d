// Package langtest makes what tests of the language need: random conditions, each also
// as expr itself understands it, and records, fully known or in part. It knows of every
// field how it varies; a field that is new has to be told to it.
package langtest
