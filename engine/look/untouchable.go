package look

import "sockwarden/collectors"

// Untouchable returns why no action may touch a process or anything it holds, "" if one may.
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

// GuardOwner returns why no action may touch a process, "" if one may.
func (u *Untouchables) GuardOwner(o *collectors.Owner) string {
	if why := u.Untouchable(o); why != "" || !isProtected(o) {
		return why
	}
	if o.LeadsTo != "" {
		return "protected process " + o.Name + " for " + o.LeadsTo
	}
	return "protected process " + o.Name
}

// speaker returns the owner that stands for all owners of a listener: an untouchable one,
// else a protected one, else any.
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
