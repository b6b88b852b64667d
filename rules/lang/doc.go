// Package lang is the language in which rules ask about sockets. It compiles the text
// of a condition, once, so that it can be asked about many records.
//
// Comes in: the text, and a Scope of what names other than fields mean. Goes out: an
// immutable Condition, or errors with their places in the text, all of them at once.
// It says of a record whether the condition holds, and of every record there can be
// where it may hold at all. It reads no files and never looks at a socket by itself.
//
// The language is that of github.com/expr-lang/expr, its lexer, parser and
// positions, restricted so that a condition cannot fail or loop at run time,
// and read in three values: see Tri.
package lang
