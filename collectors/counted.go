package collectors

import (
	"fmt"
	"strings"
)

// Counted writes a number of things with the right plural: 1 socket, 2 sockets, 2
// processes.
func Counted(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "s"):
		return fmt.Sprintf("%d %ses", n, thing)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
