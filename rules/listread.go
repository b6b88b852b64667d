package rules

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"sockwarden/rules/lang"
)

const (
	// listChunk is how much of a list is read at once, in bytes.
	listChunk = 128 << 10
	// maxListLine bounds a line of a list, in bytes.
	maxListLine = 64 << 10
)

// listReader takes in the lines of a list, and keeps only what they mean.
type listReader struct {
	list    *list
	builder lang.SetBuilder
	kinds   map[lang.SetKind]*listKind
	hash    hash.Hash
	line    int
	pending string // the entry on a last line without an end
}

// listKind are the entries of one kind: how many, and where the first of them stand.
type listKind struct {
	count int
	first Problems
}

// readList reads a set file. The error is about the file as a whole; errors in its lines
// are in the list.
func readList(path string, fd int) (*list, error) {
	r := listReader{list: &list{path: path}, hash: sha256.New(), kinds: map[lang.SetKind]*listKind{}}
	rest, ended := "", false
	err := readChunks(fd, func(chunk []byte, size int64) bool {
		r.hash.Write(chunk)
		text := rest + string(chunk)
		if r.line == 0 {
			r.reserve(text, size)
		}
		rest, ended = r.lines(text)
		return !ended
	})
	if err != nil {
		return nil, err
	}
	if !ended {
		r.lastLine(rest)
	}
	return r.done(), nil
}

// digestOf digests a file as readList does.
func digestOf(fd int) (digest [sha256.Size]byte, err error) {
	h := sha256.New()
	err = readChunks(fd, func(chunk []byte, _ int64) bool { h.Write(chunk); return true })
	return [sha256.Size]byte(h.Sum(nil)), err
}

// readChunks reads a file from its beginning, without its byte order mark, until yield
// returns false. It also passes the size of the file.
func readChunks(fd int, yield func(chunk []byte, size int64) bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	b := make([]byte, listChunk)
	in := io.NewSectionReader(positioned(fd), 0, maxListBytes+1)
	for at := 0; ; {
		n, err := io.ReadFull(in, b)
		chunk := b[:n]
		if at == 0 {
			chunk = bytes.TrimPrefix(chunk, []byte("\ufeff"))
		}
		at += n
		switch {
		case at > maxListBytes:
			return fmt.Errorf("is larger than %d MiB, the limit for a list: divide it", maxListBytes>>20)
		case len(chunk) > 0 && !yield(chunk, st.Size):
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("cannot be read: %w", err)
		}
	}
}

// positioned reads a descriptor at any place, without waiting.
type positioned int

// ReadAt is io.ReaderAt.
func (p positioned) ReadAt(b []byte, at int64) (int, error) {
	for n := 0; ; {
		got, err := unix.Pread(int(p), b[n:], at+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ESPIPE):
			return n, errors.New("it never ends: a reader would wait for more")
		case err != nil:
			return n, err //nolint:wrapcheck // an io.ReaderAt
		}
		if n += got; n == len(b) {
			return n, nil
		}
		if got == 0 {
			return n, io.EOF
		}
	}
}

// reserve makes room for as many addresses as there will be if the file goes on as it
// begins.
func (r *listReader) reserve(chunk string, size int64) {
	first, err := lang.ParseElement(firstEntry(chunk))
	if size <= int64(len(chunk)) || err != nil {
		return
	}
	lines := strings.Count(chunk, "\n")
	r.builder.Reserve(&first, min(int(size*int64(lines)/int64(len(chunk)))*17/16, maxListEntries))
}

// lines takes in all whole lines of a text, and returns the rest; ended is set if nothing
// more is to be read.
func (r *listReader) lines(text string) (rest string, ended bool) {
	for {
		end := strings.IndexAny(text, "\n\r")
		if end < 0 || text[end] == '\r' && end == len(text)-1 { // a newline may follow
			break
		}
		if !r.take(text[:end]) {
			return "", true
		}
		if text[end] == '\r' && text[end+1] == '\n' {
			end++
		}
		text = text[end+1:]
	}
	if len(text) <= maxListLine {
		return text, false
	}
	r.line++
	r.wrong(text, fmt.Sprintf("the line is longer than %d bytes", maxListLine))
	return "", true
}

func (r *listReader) lastLine(text string) {
	before := r.list.entries
	if strings.HasSuffix(text, "\r") {
		r.take(text)
	} else if r.take(text); r.list.entries > before {
		r.pending = entryOf(text)
	}
}

// take takes in one line; false if nothing more is to be read.
func (r *listReader) take(line string) bool {
	r.line++
	if !utf8.ValidString(line) {
		r.wrong(strings.ToValidUTF8(line, "\ufffd"), "is not UTF-8 text: save the list as UTF-8")
		return true
	}
	entry := entryOf(line)
	if entry == "" {
		return true
	}
	if r.list.entries++; r.list.entries > maxListEntries {
		r.wrong(line, fmt.Sprintf("a list has at most %s entries: divide it into several sets", thousands(maxListEntries)))
		return false
	}
	e, err := lang.ParseElement(entry)
	if err != nil {
		r.wrong(line, err.Error())
		return true
	}
	kind := r.kinds[e.Kind]
	if kind == nil {
		kind = &listKind{}
		r.kinds[e.Kind] = kind
	}
	if kind.count++; len(kind.first) < maxProblems {
		kind.first = append(kind.first, r.problem(strings.Clone(line), ""))
	}
	if e.Kind == lang.KindName {
		entry = strings.Clone(entry) // it must not keep the whole chunk
	}
	r.builder.Put(entry, &e)
	return true
}

// entryOf returns what a line of a set file says, "" for nothing.
func entryOf(line string) string {
	if comment := strings.IndexAny(line, "#;"); comment >= 0 {
		line = line[:comment]
	}
	return strings.TrimSpace(line)
}

func firstEntry(text string) string {
	for line := range strings.Lines(text) {
		if entry := entryOf(line); entry != "" {
			return entry
		}
	}
	return ""
}

func (r *listReader) problem(line, message string) Problem {
	return Problem{ID: lang.IDWrongEntry, File: r.list.path, Line: r.line, Column: 1, Message: firstRunes(message, maxMessage), Source: strings.TrimSuffix(line, "\r")}
}

func (r *listReader) wrong(line, message string) {
	if r.list.problems.full() {
		r.list.problems.add(Problem{})
		return
	}
	r.list.problems.add(r.problem(strings.Clone(line), message))
}

// done returns the list. Most entries decide its kind; the others are wrong.
func (r *listReader) done() *list {
	l := r.list
	l.digest = [sha256.Size]byte(r.hash.Sum(nil))
	main := r.mainKind()
	for _, kind := range []lang.SetKind{lang.KindNumber, lang.KindAddr, lang.KindName} {
		others := r.kinds[kind]
		if others == nil || kind == main {
			continue
		}
		for _, p := range others.first {
			p.Message = fmt.Sprintf("%q is of another kind than the other entries, which are %s", entryOf(p.Source), main)
			l.problems.add(p)
		}
		l.problems.seen += others.count - len(others.first)
	}
	if l.problems.seen > 0 {
		return l
	}
	var first *lang.Place
	if main != lang.KindEmpty {
		p := r.kinds[main].first[0]
		first = &lang.Place{File: p.File, Line: p.Line, Text: p.Source}
	}
	if r.pending == "" {
		l.set = r.builder.Set()
		l.set.First, l.whole = first, l.set
		return l
	}
	last, _ := lang.ParseElement(r.pending) // it is right: it was taken in
	r.builder.TakeBack(&last)
	l.whole = r.builder.Set()
	var more lang.SetBuilder
	more.Put(r.pending, &last)
	set := *l.whole.With(more.Set())
	set.First, l.set = first, &set
	return l
}

// mainKind is the kind of most entries, in a tie the one named first.
func (r *listReader) mainKind() lang.SetKind {
	main := lang.KindEmpty
	for _, kind := range []lang.SetKind{lang.KindNumber, lang.KindAddr, lang.KindName} {
		k, best := r.kinds[kind], r.kinds[main]
		if k != nil && (best == nil || k.count > best.count || k.count == best.count && k.first[0].Line < best.first[0].Line) {
			main = kind
		}
	}
	return main
}
