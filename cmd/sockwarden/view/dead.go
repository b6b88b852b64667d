package view

import (
	"fmt"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// Dead shows who holds descriptors of connections that the kernel has ended, only the
// first top of them if that is more than 0, and how many processes could not be examined.
func Dead(o Out, all []world.Dead, unseen, top int) error {
	shown := all
	if top > 0 {
		shown = all[:min(top, len(all))]
	}
	if o.Format != Text {
		return writeRows(o, len(shown), func(i int) map[string]any {
			d := &shown[i]
			row := map[string]any{"count": d.Sockets, "process": d.Owner.Name, "pid": d.Owner.PID}
			if d.Owner.Known.Has(collectors.FieldFDs) {
				row["fds"] = d.Owner.FDs
			}
			if d.Owner.Known.Has(collectors.FieldFDLimit) {
				row["fd_limit"] = d.Owner.FDLimit
			}
			return row
		})
	}
	t := newTable("COUNT", "PROCESS", "FDS/LIMIT")
	for i := range shown {
		o := &shown[i].Owner
		fds := "?"
		if o.Known.Has(collectors.FieldFDs) && o.Known.Has(collectors.FieldFDLimit) {
			fds = fmt.Sprintf("%d/%d", o.FDs, o.FDLimit)
		}
		t.row(fmt.Sprint(shown[i].Sockets), o.String(), fds)
	}
	if len(shown) > 0 {
		t.write(o)
	}
	if more := len(all) - len(shown); more > 0 {
		o.say("... %s", Count(more, "more process"))
	}
	if len(all) == 0 {
		o.say("no process holds a connection that the kernel has ended")
	}
	if unseen > 0 {
		o.say("note: %s could not be examined", Count(unseen, "process"))
	}
	return nil
}
