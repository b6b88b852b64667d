package recording

import (
	"bufio"
	"runtime"
	"sync"
)

// Lines are decoded several at a time, on all processors, and taken over in their order.
const (
	batchLines = 1024
	batchBytes = 1 << 20
)

// batch is some lines in a row.
type batch struct {
	text  []byte
	ends  []int // of the lines in text
	lines []anyLine
	errs  []error
}

func (b *batch) full() bool { return len(b.ends) == batchLines || len(b.text) >= batchBytes }

func (b *batch) add(line []byte) {
	b.text = append(b.text, line...)
	b.ends = append(b.ends, len(b.text))
}

// decode decodes all lines.
func (b *batch) decode() {
	b.lines, b.errs = make([]anyLine, len(b.ends)), make([]error, len(b.ends))
	workers := runtime.GOMAXPROCS(0)
	var all sync.WaitGroup
	for first := range workers {
		all.Go(func() {
			for i := first; i < len(b.ends); i += workers {
				from := 0
				if i > 0 {
					from = b.ends[i-1]
				}
				b.errs[i] = decode(b.text[from:b.ends[i]], &b.lines[i])
			}
		})
	}
	all.Wait()
}

// lines takes over all lines. It returns the number of the last one, or of the one with an
// error.
func (r *reader) lines(in *bufio.Scanner) (n int, err error) {
	if !in.Scan() {
		return 0, nil
	}
	if err := r.header(in.Bytes()); err != nil {
		return 1, err
	}
	n = 1
	var b batch
	for more := true; more; {
		b.text, b.ends = b.text[:0], b.ends[:0]
		for more = in.Scan(); more; more = !b.full() && in.Scan() {
			b.add(in.Bytes())
		}
		more = len(b.ends) > 0 && b.full()
		b.decode()
		for i := range b.lines {
			n++
			if b.errs[i] != nil {
				return n, b.errs[i]
			}
			if err := r.line(&b.lines[i]); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
