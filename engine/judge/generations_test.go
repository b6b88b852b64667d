package judge

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"sockwarden/rules"
)

// Last looks ask the newer rules beside each other while one of them reads newer ones. The
// race detector finds what they share.
func TestGenerationsAreAskedWhileRead(t *testing.T) {
	load := func(i int) *rules.Program {
		p, err := rules.NewSelection(rules.Selection{Text: fmt.Sprintf("state == 'CLOSE_WAIT' and port == %d", i)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	inForce, now := load(0), time.Now()
	k := &council{Gens: NewGenerations(inForce, now)}
	const asking, read = 4, 20
	k.Gens.Add(load(1), now)
	var wait sync.WaitGroup
	for range asking {
		wait.Go(func() {
			for range 20 * read {
				if k.Plan(inForce) == inForce || len(k.younger()) == 0 {
					t.Error("the newer rules are not asked")
				}
			}
		})
	}
	for i := range read {
		k.Gens.Add(load(i+2), now)
	}
	wait.Wait()
	if n := len(k.younger()); n != read+1 {
		t.Errorf("%d are asked", n)
	}
	if other := load(0); k.Plan(other) == k.Plan(inForce) {
		t.Error("one plan for two programs")
	}
}
