package lang

import (
	"fmt"

	"github.com/expr-lang/expr/ast"

	"sockwarden/collectors"
)

// Why a condition is true of no socket, with what may have been meant.
const (
	noState    = `no state can be everything that it says about state: to mean one of several, write state in ["CLOSE_WAIT", "LAST_ACK"]`
	noProtocol = `no socket is of two protocols: to mean both, write protocol in ["tcp", "udp"]`
	noFamily   = `no socket is of both families: to mean both, say nothing of family`
	noSocket   = "no socket is all that it asks for"
	noMatter   = "its condition is false, whatever the socket is"
)

// noPort says so of the local or the remote port.
func noPort(f collectors.Field) string {
	name := "port"
	if f == collectors.FieldRemotePort {
		name = "remote_port"
	}
	return fmt.Sprintf("no port can be everything that it says about %s: to mean one of several, write %[1]s in [80, 443]", name)
}

// inEmpty says that a list is empty, by its name if it has one.
func (p *places) inEmpty(list ast.Node) string {
	if _, named := list.(*ast.IdentifierNode); named {
		return fmt.Sprintf("nothing is in %s, which is empty", p.written(list))
	}
	return "nothing is in an empty list"
}

// Never says why the condition is true of no socket, by what every record shows; "" if
// it may be true of one.
func (c *Condition) Never() string {
	switch yes := c.may.yes; {
	case !yes.empty():
		return ""
	case yes.why != "":
		return yes.why
	}
	return noSocket
}
