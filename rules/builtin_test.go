package rules

import (
	"slices"
	"testing"

	"sockwarden/collectors"
)

// TestBuiltinStill: a built-in rule takes a socket only if no data has moved for as long
// as it has been in its state; where that is unknown, only a FIN_WAIT2 that nobody holds.
// Times are in seconds, and all rules wait for 60.
func TestBuiltinStill(t *testing.T) {
	var vars []Override
	for _, name := range []string{"close_wait_timeout", "fin_wait_timeout", "closing_timeout", "last_ack_timeout"} {
		vars = append(vars, Override{Name: name, Value: "60"})
	}
	p, _, err := Load(Options{Paths: []string{Builtin}, Catalog: testCatalog(), Vars: vars})
	if err != nil {
		t.Fatal(err)
	}
	rules := map[collectors.State]string{
		collectors.CloseWait: "close-wait", collectors.FinWait1: "fin-wait", collectors.FinWait2: "fin-wait",
		collectors.Closing: "closing", collectors.LastAck: "last-ack",
	}
	const hour = 3600
	for _, c := range []struct {
		what            string
		sent, recv, ack uint32
		age             float64
		still           bool
	}{
		{"nothing moves, the peer answers keepalives", hour, hour, 1, 61, true},
		{"nothing moves at all", 61, 61, 61, 61, true},
		{"younger than its last data", hour, hour, hour, 59, false},
		{"sends and is acknowledged", 1, hour, 1, hour, false},
		{"sends now and then", 59, hour, 59, hour, false},
		{"receives", hour, 1, 1, hour, false},
		{"receives now and then", hour, 59, hour, hour, false},
		{"receives what acknowledges nothing", hour, 1, hour, hour, false},
		{"sends again and again, and nobody answers", 1, 61, 61, hour, true},
		{"sends again, and nobody has answered for a while", 1, 61, 59, hour, false},
	} {
		for state, rule := range rules {
			for _, owned := range []bool{true, false} {
				r := leak()
				r.Socket.State = state
				r.Socket.Info.LastDataSent, r.Socket.Info.LastDataRecv, r.Socket.Info.LastAckRecv = c.sent*1000, c.recv*1000, c.ack*1000
				r.Facts.Age = collectors.Age{Min: c.age, Source: collectors.AgeEvent}
				if !owned {
					r.Socket.Inode = 0
				}
				nobody := state == collectors.FinWait2 && !owned // nobody is left to transfer to
				if got, want := takes(p, rule, r), c.still || nobody && c.age > 60; got != want {
					t.Errorf("%s, owned %t, %s: %t, not %t", state, owned, c.what, got, want)
				}
				r.Known.Remove(collectors.InfoFields().AndNot(collectors.AgeFields()))
				if got, want := takes(p, rule, r), nobody && c.age > 60; got != want {
					t.Errorf("%s, owned %t, %s, without tcp_info: %t, not %t", state, owned, c.what, got, want)
				}
			}
		}
	}
	if len(p.Warnings) > 0 {
		t.Errorf("%v", p.Warnings)
	}
}

func takes(p *Program, rule string, r *collectors.Record) bool {
	i := slices.IndexFunc(p.Rules, func(q *Rule) bool { return q.Name == rule })
	return p.Rules[i].When.Eval(r) == True
}
