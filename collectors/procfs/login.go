package procfs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// NoLogin is the login uid of a process that no login led to, such as a service
// (AUDIT_UID_UNSET).
const NoLogin = math.MaxUint32

// LoginUID returns the user who logged in, over how many su and sudo ever: whatever
// a login starts inherits it, and nothing but a login sets it (pam_loginuid). It
// is NoLogin for what was started by none, and where the kernel does not keep it
// (CONFIG_AUDIT).
func (ps *Processes) LoginUID(pid int, startTime uint64) (uint32, error) {
	p, _, err := ps.openStarted(pid, startTime)
	if err != nil {
		return NoLogin, err
	}
	defer p.close()
	return p.loginUID()
}

// OwnLoginUID is LoginUID of this process.
func (ps *Processes) OwnLoginUID() (uint32, error) {
	pid, err := ps.Self()
	if err != nil {
		return NoLogin, err
	}
	p, err := ps.open(pid)
	if err != nil {
		return NoLogin, classify(err)
	}
	defer p.close()
	return p.loginUID()
}

func (p process) loginUID() (uint32, error) {
	b, err := p.read("loginuid")
	switch {
	case isGone(err):
		return NoLogin, nil
	case err != nil:
		return NoLogin, classify(err)
	}
	uid, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return NoLogin, fmt.Errorf("login uid of process %d: %w", p.pid, err)
	}
	return uint32(uid), nil
}
