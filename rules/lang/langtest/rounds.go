package langtest

// Rounds is n, how often a test tries something at random or how much it takes of it, and
// a quarter of it under the race detector: where one goroutine counts there is no race to
// be found, and all of it runs without the detector (make test, and CI).
func Rounds(n int) int {
	if Race {
		return n / 4
	}
	return n
}
