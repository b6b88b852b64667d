package collectors

import (
	"fmt"
	"strings"
)

// maxNamed is how many of several owners a message names.
const maxNamed = 3

// String names the process: NAME[PID]. Names are other people's text.
func (o *Owner) String() string { return fmt.Sprintf("%s[%d]", o.Name, o.PID) }

// OwnerNames names several processes, the first of many and how many more there are.
func OwnerNames(owners []Owner) string {
	names := make([]string, min(len(owners), maxNamed))
	for i := range names {
		names[i] = owners[i].String()
	}
	text := strings.Join(names, ", ")
	if n := len(owners) - maxNamed; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
