package scripted_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

// After an action its target is left alone for a while, across cycles and rules.
func TestCooldownOfTargets(t *testing.T) {
	for action, result := range map[string]actions.Result{"keep": actions.Refused, "poke": actions.Done} {
		t.Run(action, func(t *testing.T) {
			s := newStage(t, engine.Options{}, keeper(), poker())
			path := s.state()
			s.restart(engine.Options{Live: true, StateFile: path})
			c := s.leak(2, time.Hour)[0]
			p := s.rules(closeWait, action, "limits: {cooldown: 5m}")
			s.expectOf(s.run(p), c, engine.DecideAct, "", result)
			s.expectOf(s.run(p), c, engine.DecideCooldown, "cool-down 5m")
			other := s.file(strings.Replace(rule(closeWait, action), "name: r", "name: another", 1))
			s.expectOf(s.run(other), c, engine.DecideCooldown, "cool-down 5m")
			s.Advance(5*time.Minute - 2*time.Second)
			s.expectOf(s.run(p), c, engine.DecideCooldown, "cool-down 5m")
			s.Advance(2 * time.Second)
			s.expectOf(s.run(p), c, engine.DecideAct, "", result)
			// A dry run sees the cool-down but starts none.
			before := s.kept(path).Cooldowns
			s.expectOf(s.beside(engine.Options{StateFile: path}).run(p), c, engine.DecideCooldown, "cool-down")
			s.Advance(5 * time.Minute)
			s.expectOf(s.beside(engine.Options{StateFile: path}).run(p), c, engine.DecideAct, "", actions.Would)
			if now := s.kept(path).Cooldowns; len(before) == 0 || len(now) != len(before) {
				t.Errorf("cool-downs %v, were %v", now, before)
			}
		})
	}
}

// After an action on one connection of a peer, its others are left alone for a while, if
// the rule says so.
func TestPeerCooldown(t *testing.T) {
	for _, limits := range []string{"{cooldown: {target: 0, peer: 5m}}", "{cooldown: 0}"} {
		t.Run(limits, func(t *testing.T) {
			s := newStage(t, live, keeper())
			first := s.leak(1, time.Hour)[0]
			p := s.rules(closeWait, "keep", "limits: "+limits)
			s.expectOf(s.run(p), first, engine.DecideAct, "", actions.Refused)
			v6 := func(local, remote string) *scripted.Socket {
				return s.Add(collectors.Socket{
					State: collectors.CloseWait, Family: collectors.IPv6,
					Local: collectors.AddrFrom(netip.MustParseAddr(local)), Remote: collectors.AddrFrom(netip.MustParseAddr(remote)),
				}, time.Hour, app(7))
			}
			mapped := v6("::ffff:192.0.2.1", "::ffff:198.51.100.1") // the same peer
			other := v6("2001:db8::1", "2001:db8::2")
			r := s.run(p)
			s.expectOf(r, other, engine.DecideAct, "", actions.Refused)
			for _, c := range []*scripted.Socket{first, mapped} {
				if strings.Contains(limits, "peer") {
					s.expectOf(r, c, engine.DecideCooldown, "cool-down 5m")
				} else {
					s.expectOf(r, c, engine.DecideAct, "", actions.Refused)
				}
			}
		})
	}
}
