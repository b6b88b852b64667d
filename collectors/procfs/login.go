package procfs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// NoLogin is the login uid of a process that stems from no login, such as a service
// (AUDIT_UID_UNSET).
const NoLogin = math.MaxUint32

// LoginUID returns the user who logged in, however many times su and sudo were called
// since: everything that a login starts inherits it, and only a login sets it
// (pam_loginuid). It is NoLogin for a process that stems from no login, and where the
// kernel does not keep it (CONFIG_AUDIT).
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
