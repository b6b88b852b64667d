package rules

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Breaker bounds what all rules together do in one cycle: nothing is done if they would
// hit more than Count living targets, or more than Share of all sockets where that is
// more than ShareMin.
type Breaker struct {
	Count    int     // 0 for no limit
	Share    float64 // 0 for no limit
	ShareMin int
	// ByHand says that it comes from the command line, not from files.
	ByHand bool
}

// defaultBreaker is in force where no file sets one (DESIGN: it suits a small server).
var defaultBreaker = Breaker{Count: 500, Share: 0.30, ShareMin: 50}

// String writes it as --breaker takes it: 500/30%, 2000, off.
func (b Breaker) String() string {
	switch {
	case b.Count == 0:
		return "off"
	case b.Share == 0:
		return strconv.Itoa(b.Count)
	}
	return fmt.Sprintf("%d/%.3g%%", b.Count, b.Share*100)
}

// Origin is String with who set it, if that was not a file.
func (b Breaker) Origin() string {
	if b.ByHand {
		return b.String() + " (--breaker)"
	}
	return b.String()
}

// ParseBreaker reads COUNT, which switches the share off, COUNT/SHARE%, or off.
func ParseBreaker(text string) (Breaker, error) {
	b := Breaker{ShareMin: defaultBreaker.ShareMin, ByHand: true}
	if text == "off" {
		return b, nil
	}
	count, share, both := strings.Cut(text, "/")
	var err error
	if b.Count, err = strconv.Atoi(count); err != nil || b.Count < 1 {
		return Breaker{}, fmt.Errorf("%q is not a breaker limit: write COUNT, COUNT/SHARE%% or off, such as 2000 or 2000/50%%", text)
	}
	if both {
		if b.Share, err = parseShare(share); err != nil {
			return Breaker{}, err
		}
	}
	return b, nil
}

var breakerKeys = keys[*defaults, *Breaker]{
	{"count", "the most living targets in one cycle", countForm, func(d *defaults, b *Breaker, n *yaml.Node) { b.Count = d.count(n, "count") }},
	{"share", "the largest part of all sockets in one cycle", shareForm, func(d *defaults, b *Breaker, n *yaml.Node) { b.Share = d.share(n, "share") }},
}

func (d *defaults) parseBreaker(n *yaml.Node) {
	breakerKeys.fields(d.reader, n, "breaker", d, &d.breaker)
}

// breaker is the strictest of what the files set: no file can loosen another's. A file
// that does not mention it has no say, and the defaults stand in only for what none
// mentions.
func (l *loader) breaker() Breaker {
	if l.opts.Breaker != nil {
		return *l.opts.Breaker
	}
	var b Breaker
	for _, f := range l.files {
		b = b.Stricter(f.defaults.breaker)
	}
	if b.Count == 0 {
		b.Count = defaultBreaker.Count
	}
	if b.Share == 0 {
		b.Share = defaultBreaker.Share
	}
	b.ShareMin = defaultBreaker.ShareMin
	return b
}

// Stricter takes the stricter of each limit from two breakers.
func (b Breaker) Stricter(other Breaker) Breaker {
	b.Count, b.Share, b.ShareMin = stricter(b.Count, other.Count), stricter(b.Share, other.Share), stricter(b.ShareMin, other.ShareMin)
	return b
}

// stricter returns the smaller of two limits, where 0 means none.
func stricter[T int | float64](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
