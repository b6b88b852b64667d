package lang

import "fmt"

// Error is an error at a place of an expression, in runes.
type Error struct {
	ID      ID
	From    int
	Message string
	// List is the first wrong entry of a list, if the mistake is there and not in the
	// expression; else nil.
	List *Place
}

// Place is a line of a file.
type Place struct {
	File string
	Line int // 1-based
	Text string
}

// checker collects what is wrong with one expression.
type checker struct {
	errs  []Error
	notes []Error
	at    *[2]int // place of the outermost macro, for everything within it
}

func (c *checker) errorf(id ID, from int, format string, args ...any) {
	if c.at != nil {
		from = c.at[0]
	}
	c.errs = append(c.errs, Error{ID: id, From: from, Message: fmt.Sprintf(format, args...)})
}

// note adds a warning about a place, as errorf adds an error.
func (c *checker) note(id ID, from int, message string) {
	if c.at != nil {
		from = c.at[0]
	}
	c.notes = append(c.notes, Error{ID: id, From: from, Message: message})
}
