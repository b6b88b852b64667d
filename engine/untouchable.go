package engine

import "sockwarden/collectors"

// untouchable returns why nothing may ever be done to a process and what it has.
func (u *untouchables) untouchable(o *collectors.Owner) string {
	switch {
	case o.PID == u.world.Self.PID:
		return "sockwarden's own"
	case o.PID == 1 && (u.world.Owners.Coverage().HostInit || isInit(o)):
		return "held by PID 1"
	case u.world.Self.Ancestors[o.PID], u.world.Self.IsLogin(o):
		return "your own session"
	case o.Kernel:
		return "held by the kernel"
	}
	return ""
}

// guardOwner returns why nothing may be done to a process.
func (u *untouchables) guardOwner(o *collectors.Owner) string {
	if why := u.untouchable(o); why != "" || !isProtected(o) {
		return why
	}
	return "protected process " + o.Name
}

// speaker returns which of the owners of a listener stands for them all: one of
// which nothing may ever be touched, else one that is protected, if there is any.
func (u *untouchables) speaker(owners []collectors.Owner) *collectors.Owner {
	for _, guarded := range []func(*collectors.Owner) string{u.untouchable, u.guardOwner} {
		for i := range owners {
			if guarded(&owners[i]) != "" {
				return &owners[i]
			}
		}
	}
	return &owners[0]
}
