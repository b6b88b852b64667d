package lang

// blocks find the span of IPv6 that holds an address by a hash of the address without its
// last bits: where addresses crowd, the leading bits say little. They are for lists whose
// spans are prefixes of a few lengths, as most are.
type blocks struct {
	table table
	sizes []int // how many last bits are left out; each size has a block
}

const (
	// blocksFrom is how many spans are worth a hash: the leading bits, which fit into a
	// cache, find fewer just as fast.
	blocksFrom = 4096
	// maxSizes bounds the sizes of blocks: each costs a search.
	maxSizes = 4
)

// newBlocks returns none, without sizes, if the spans are few or of many lengths.
func newBlocks(spans []span[u128]) blocks {
	if len(spans) < blocksFrom {
		return blocks{}
	}
	var count [129]int // blocks by size
	n := 0
	for _, s := range spans {
		blocksOf(s, 128, func(_ u128, size int) bool { n++; count[size]++; return true })
		if n > 2*len(spans) {
			return blocks{}
		}
	}
	sizes, as, n := fewSizes(count, n)
	if len(sizes) > maxSizes {
		return blocks{}
	}
	b := blocks{table: newTable(n, len(spans)), sizes: sizes}
	for i, s := range spans {
		blocksOf(s, 128, func(low u128, size int) bool {
			for range 1 << (size - as[size]) {
				b.table.add(hash128(low, as[size]), i)
				low = low.or(as[size]).next()
			}
			return true
		})
	}
	return b
}

// fewSizes divides blocks of rare sizes, such as those of two neighbours, into smaller
// ones, as long as that adds no more than a quarter. It returns the sizes that are left,
// which of them stands for each size, and how many blocks there are then.
func fewSizes(count [129]int, n int) (sizes []int, as [129]int, all int) {
	spare := n / 4
	for size := 128; size >= 0; size-- {
		as[size] = size
		for less := size - 1; count[size] > 0 && less >= max(0, size-8); less-- {
			if more := count[size]<<(size-less) - count[size]; count[less] > 0 && more <= spare {
				spare -= more
				count[less] += count[size] + more
				as[size], count[size] = less, 0
			}
		}
		if count[size] > 0 {
			sizes = append(sizes, size)
			all += count[size]
		}
	}
	for size := range as { // the smaller ones are final
		as[size] = as[as[size]]
	}
	return sizes, as, all
}

// has reports whether one of the spans in the blocks holds a number.
func (b *blocks) has(n u128, spans []span[u128]) bool {
	for _, size := range b.sizes {
		at, tag := b.table.slot(hash128(n.from(size), size))
		for {
			place, behind, ok := b.table.next(at, tag)
			if !ok {
				break
			}
			if s := &spans[place]; !n.less(s.Low) && !s.High.less(n) {
				return true
			}
			at = behind
		}
	}
	return false
}
