package collectors

// placeFields say where a socket is.
var placeFields = []FieldDoc{
	{
		Field: FieldInterface, Name: "interface", Type: TypeString, Cost: CostInterfaces, Source: diag,
		Meaning: "interface that the socket is bound to, \"\" for none", Unknown: "the interface is gone, /proc/net",
		Str: func(r *Record) string {
			if r.Socket.IfIndex == 0 {
				return ""
			}
			return namespaceOf(r).Interfaces[r.Socket.IfIndex]
		},
		SetStr: func(r *Record, v string) { r.socket().IfIndex = r.namespace().index(v) },
	},
	{
		Field: FieldNetNS, Name: "netns", Type: TypeString, Cost: CostNone, Source: "nsfs",
		Meaning: "network namespace: host, its name under /run/netns, or net:[inode]", Unknown: never,
		Str:    func(r *Record) string { return namespaceOf(r).Name },
		SetStr: func(r *Record, v string) { r.namespace().Name = v },
	},
	{
		Field: FieldHost, Name: "host", Type: TypeString, Cost: CostNone, Source: "uname(2)",
		Meaning: "name of this machine", Unknown: never,
		Str:    func(r *Record) string { return r.Host },
		SetStr: func(r *Record, v string) { r.Host = v },
	},
}
