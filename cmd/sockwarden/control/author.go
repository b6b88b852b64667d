package control

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// Author names who asks for something: the user that the kernel names, and who logged in
// to become that user, if somebody else did. What they say of themselves comes before it,
// or, as "USER (sudo: NAME)" of that same user, with it.
func Author(uid uint32, pid int, says string) string {
	name := userName(uid)
	var more []string
	sudo := ""
	if rest, ok := strings.CutPrefix(says, name+" (sudo: "); ok {
		if who, ok := strings.CutSuffix(rest, ")"); ok && who != "" && printable(who) == who && !strings.ContainsAny(who, "()") {
			sudo, says = who, ""
			more = append(more, "sudo: "+sudo)
		}
	}
	if login := loginOf(pid); login != noLogin && login != uid && userName(login) != sudo {
		more = append(more, "login: "+userName(login))
	}
	known := name
	if len(more) > 0 {
		known += " (" + strings.Join(more, ", ") + ")"
	}
	if says == "" || says == name {
		return known
	}
	return fmt.Sprintf("%s, as %s", printable(says), known)
}

// by is the Author of a request.
func by(r *http.Request, says string) string {
	c, ok := r.Context().Value(peerKey{}).(*client)
	if !ok {
		return printable(says)
	}
	return Author(c.peer.Uid, int(c.peer.Pid), says)
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

// noLogin is the login uid of a process that stems from no login (AUDIT_UID_UNSET).
const noLogin = math.MaxUint32

// loginOf is the login uid of a process, which waits for our answer; noLogin if that
// is not known, as of one in another PID namespace.
func loginOf(pid int) uint32 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/loginuid") //nolint:gosec // a number
	if err != nil {
		return noLogin
	}
	uid, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return noLogin
	}
	return uint32(uid)
}
