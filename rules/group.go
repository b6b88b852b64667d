package rules

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// GroupKey names what the sockets of a group have in common.
type GroupKey string

// The keys of groups. Ports, addresses and processes are keys within one namespace.
const (
	ByHost        GroupKey = "host"
	ByPID         GroupKey = "pid"
	ByProcess     GroupKey = "process"
	ByUnit        GroupKey = "unit"
	ByContainer   GroupKey = "container"
	ByContainerID GroupKey = "container_id"
	ByListener    GroupKey = "listener"
	ByNetNS       GroupKey = "netns"
	ByPort        GroupKey = "port"
	ByRemoteAddr  GroupKey = "remote_addr"
	ByRemotePort  GroupKey = "remote_port"
)

var groupKeys = []string{
	string(ByHost), string(ByPID), string(ByProcess), string(ByUnit), string(ByContainer), string(ByContainerID), string(ByListener),
	string(ByNetNS), string(ByPort), string(ByRemoteAddr), string(ByRemotePort),
}

// field is what must be known of a socket for it to belong to a group by k; none for keys
// that are not a field.
func (k GroupKey) field() (collectors.Field, bool) {
	if k == ByHost || k == ByListener {
		return 0, false
	}
	return collectors.FieldByName(string(k))
}

// Fields returns the fields whose values make up the key of a group.
func (r *Rule) groupFields() collectors.FieldSet {
	var set collectors.FieldSet
	for _, k := range r.Group {
		if f, ok := k.field(); ok {
			set.Add(collectors.Fields(f))
		}
		if k == ByListener {
			set.Add(collectors.Fields(collectors.FieldDirection)) // takes a look at the listeners
		}
	}
	return set
}

// GroupValue returns the value of a key that is a field of a socket; false if it is
// unknown: then the socket belongs to no group.
func GroupValue(k GroupKey, r *collectors.Record) (any, bool) {
	f, ok := k.field()
	if !ok {
		return "", true
	}
	return collectors.Value(f, r)
}

func (rs *ruleSection) parseGroup(n *yaml.Node) []GroupKey {
	keys := []GroupKey{} // not nil: there is a group
	add := func(k *yaml.Node) {
		key := GroupKey(rs.oneOf(k, "group", groupKeys...))
		if slices.Contains(keys, key) {
			rs.errorf(idDuplicateKey, k, "group has %s twice", key)
			return
		}
		keys = append(keys, key)
	}
	if n.Kind == yaml.SequenceNode {
		for _, k := range n.Content {
			add(k)
		}
		if len(n.Content) == 0 {
			rs.errorf(idMissing, n, "group needs a key: %s", lang.Choices(groupKeys))
		}
		return keys
	}
	add(n)
	return keys
}
