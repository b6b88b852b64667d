package look

import "sync"

// partLen is from how many on they are divided among workers.
const partLen = 64

// InParts does something for parts of many at the same time, and returns what
// came of each, in their order.
func InParts[T, R any](workers int, all []T, do func(part []T) []R) []R {
	each := max(partLen, (len(all)+workers-1)/workers)
	results := make([]R, len(all))
	var wait sync.WaitGroup
	at := 0
	for ; len(all)-at > each; at += each {
		from := at
		wait.Go(func() { copy(results[from:], do(all[from:from+each])) })
	}
	copy(results[at:], do(all[at:]))
	wait.Wait()
	return results
}
