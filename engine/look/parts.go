package look

import "sync"

// partLen is the number of items from which workers share them.
const partLen = 64

// InParts applies a function to parts of a list in parallel, and returns the results in
// the order of the list.
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
