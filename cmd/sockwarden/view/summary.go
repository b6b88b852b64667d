package view

import (
	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
)

// totalsOf is the summary of a report in which each socket counts once, however many
// rules match it: by the most serious of its findings. Matched is the sum of the counts
// from WouldAct to Failed.
func totalsOf(r *engine.Report) engine.Summary {
	counted := map[any]*engine.Finding{}
	for _, f := range r.Findings {
		var key any = f.Candidate // for sockets to which the kernel gives no cookie
		if f.Socket.Cookie != 0 {
			key = collectors.KeyOf(&f.Socket)
		}
		if was, ok := counted[key]; !ok || rank(f) < rank(was) {
			counted[key] = f
		}
	}
	s := engine.Summary{SocketsTotal: r.Summary.SocketsTotal, Scanned: r.Summary.Scanned, Matched: len(counted)}
	for _, f := range counted {
		switch rank(f) {
		case rankFailed:
			s.Failed++
		case rankActed:
			s.Acted++
			if f.Last().Result == actions.FDStillHeld {
				s.FDStillHeld++
			}
		case rankWould:
			s.WouldAct++
		case rankObserved:
			s.Observed++
		case rankProtected:
			s.Protected++
		case rankSkipped:
			s.Skipped++
		}
	}
	return s
}

// outcomeRank orders what can happen to a socket, the most serious first.
type outcomeRank int

const (
	rankFailed outcomeRank = iota
	rankActed
	rankWould
	rankObserved
	rankProtected
	rankSkipped
)

func rank(f *engine.Finding) outcomeRank {
	last := f.Last().Result
	switch {
	case f.Decision.Observes():
		return rankObserved
	case f.Decision == engine.DecideProtect:
		return rankProtected
	case f.Decision != engine.DecideAct, last == actions.Changed, last == "":
		return rankSkipped
	case last == actions.Would:
		return rankWould
	case last.Succeeded():
		return rankActed
	}
	return rankFailed
}
