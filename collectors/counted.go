package collectors

import "fmt"

// Counted is a number of things, in grammar: 1 socket, 2 sockets.
func Counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
