package repair

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions/ownersock"
)

// plan is what to set on one connection so that a live peer can miss all probes but the
// last.
type plan struct {
	before settings
	goal   settings // userTimeout is 0 to leave it as it is
	alone  string   // why nothing will be set, "" if something may be
	// without says that user_timeout is left alone, in words that end a sentence.
	without string
}

// planFor reads what is set on a descriptor's socket and how long its peer has been
// silent. With TCP_USER_TIMEOUT the kernel counts from the peer's last sign of life, not
// from the first probe. Beyond that time, the first unanswered probe ends the connection
// (tcp_keepalive_timer).
func (s settings) planFor(fd int) (p plan, err error) {
	if p.before, err = read(fd); err != nil {
		return p, err
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return p, ownersock.Classify("state of socket", err)
	}
	p.goal = s
	silent := silence(info)
	need := silent + s.probing()
	if p.goal.userTimeout > 0 && p.goal.userTimeout < need {
		p.goal.userTimeout = 0
		p.without = fmt.Sprintf("; user_timeout is left alone: after %s of silence it would have to be %s", millis(silent), millis(need))
	}
	switch its := p.before.userTimeout; {
	case p.before.on && info.Probes > 0:
		// Those count, too: with a lower limit the next timer could end the connection.
		p.alone = fmt.Sprintf("left alone: %d probes are unanswered already", info.Probes)
	case p.goal.userTimeout == 0 && its > 0 && its < need:
		p.alone = fmt.Sprintf("left alone: its user_timeout of %s would end it with the first lost probe, after %s of silence it would have to be %s",
			millis(its), millis(silent), millis(need))
	}
	return p, nil
}

// steps is the plan in the form that a Setter takes.
func (p *plan) steps() *ownersock.Plan {
	return &ownersock.Plan{
		Before: p.before.String(), Met: p.before.satisfies(p.goal), Alone: p.alone, Note: p.without,
		Set: p.goal.write,
		Check: func(fd int) (string, bool, error) {
			now, err := read(fd)
			return now.String(), now.satisfies(p.goal), err
		},
	}
}

// silence returns how long, in milliseconds, the peer has given no sign of life. During
// retransmissions or window probes it may be longer: at most the time without progress.
func silence(info *unix.TCPInfo) int {
	silent := int(min(info.Last_data_recv, info.Last_ack_recv))
	if info.Retransmits > 0 || info.Probes > 0 {
		silent = max(silent, int(min(info.Busy_time/1000, uint64(maxUserTimeout.Milliseconds()))))
	}
	return silent
}

// probing returns how long the kernel probes a dead peer, in milliseconds.
func (s settings) probing() int { return (s.idle + s.count*s.interval) * 1000 }

func millis(n int) time.Duration { return time.Duration(n) * time.Millisecond }
