package act

import (
	"context"
	"fmt"

	"sockwarden/collectors"
)

// died says how many connections of a ladder's process have ended with it, "" if it had
// none. A connection that another process shares lives on.
func (h *Hand) died(ctx context.Context, l *ladder) string {
	total := len(l.harm.Connections)
	if total == 0 || l.process == nil {
		return ""
	}
	alive := map[uint64]map[uint64]bool{}
	dead := 0
	for _, end := range l.harm.Connections {
		if _, looked := alive[end.Netns]; !looked {
			var err error
			if alive[end.Netns], err = h.harms.Established(ctx, l.findings[0].NS, end.Netns); err != nil {
				return fmt.Sprintf("cannot tell how many of its %s died with it: %v", collectors.Counted(total, "established connection"), err)
			}
		}
		if !alive[end.Netns][end.Cookie] {
			dead++
		}
	}
	if dead == total {
		return collectors.Counted(dead, "established connection") + " died with it"
	}
	return fmt.Sprintf("%d of its %s died with it", dead, collectors.Counted(total, "established connection"))
}
