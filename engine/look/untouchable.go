package look

import "sockwarden/collectors"

// Untouchable returns why nothing may ever be done to a process and what it has.
func (u *Untouchables) Untouchable(o *collectors.Owner) string {
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

// GuardOwner returns why nothing may be done to a process.
func (u *Untouchables) GuardOwner(o *collectors.Owner) string {
	if why := u.Untouchable(o); why != "" || !isProtected(o) {
		return why
	}
	return "protected process " + o.Name
}

// speaker returns which of the owners of a listener stands for them all: one of
// which nothing may ever be touched, else one that is protected, if there is any.
func (u *Untouchables) speaker(owners []collectors.Owner) *collectors.Owner {
	for _, guarded := range []func(*collectors.Owner) string{u.Untouchable, u.GuardOwner} {
		for i := range owners {
			if guarded(&owners[i]) != "" {
				return &owners[i]
			}
		}
	}
	return &owners[0]
}
