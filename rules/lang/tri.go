package lang

// Tri is a truth value of Kleene's strong logic. A condition that reads an unknown field
// is Unknown unless the rest of it decides alone.
type Tri uint8

// The three truth values.
const (
	Unknown Tri = iota
	False
	True
)

// String returns unknown, false or true.
func (t Tri) String() string { return [...]string{"unknown", "false", "true"}[t] }

func triOf(b bool) Tri {
	if b {
		return True
	}
	return False
}

func (t Tri) not() Tri {
	switch t {
	case True:
		return False
	case False:
		return True
	case Unknown:
	}
	return Unknown
}
