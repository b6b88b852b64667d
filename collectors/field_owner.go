package collectors

// ownerFields are what is known about a process that holds the socket, read from an
// Owner.
var ownerFields = []FieldDoc{
	{
		Field: FieldPID, Name: "pid", Type: TypeNumber, Cost: CostOwner, Source: proc,
		Meaning: "process that holds the socket, 0 for none; a condition must hold for each of several", Unknown: noOwner,
		Num:    func(r *Record) float64 { return float64(ownerOf(r).PID) },
		SetNum: func(r *Record, v float64) { r.owner().PID = int(v) },
	},
	{
		Field: FieldProcess, Name: "process", Type: TypeString, Cost: CostOwner, Source: proc,
		Meaning: "full name of that process, \"\" for none", Unknown: noOwner,
		Str:    func(r *Record) string { return ownerOf(r).Name },
		SetStr: func(r *Record, v string) { r.owner().setName(v) },
	},
	{
		Field: FieldExe, Name: "exe", Type: TypeString, Cost: CostOwner, Source: proc + "/exe",
		Meaning: "its executable, \"\" for none", Unknown: noOwner + ", kernel threads",
		Str:    func(r *Record) string { return ownerOf(r).Exe },
		SetStr: func(r *Record, v string) { r.owner().Exe = v },
	},
	{
		Field: FieldCmdline, Name: "cmdline", Type: TypeString, Cost: CostOwner, Source: proc + "/cmdline",
		Meaning: "its arguments, joined by spaces", Unknown: noOwner,
		Str:    func(r *Record) string { return ownerOf(r).Cmdline },
		SetStr: func(r *Record, v string) { r.owner().Cmdline = v },
	},
	{
		Field: FieldProcessAge, Name: "process_age", Type: TypeSeconds, Unit: "s", Cost: CostOwner, Source: proc + "/stat",
		Meaning: "time since that process started", Unknown: ownerless,
		Num:    func(r *Record) float64 { return ownerOf(r).Age },
		SetNum: func(r *Record, v float64) { r.owner().Age = v },
	},
	{
		Field: FieldUser, Name: "user", Type: TypeString, Cost: CostOwner, Source: "user database",
		Meaning: "name of the user whom the process runs as", Unknown: ownerless + ", no such user",
		Str:    func(r *Record) string { return ownerOf(r).User },
		SetStr: func(r *Record, v string) { r.owner().User = v },
	},
	{
		Field: FieldFDs, Name: "fds", Type: TypeNumber, Cost: CostFDs, Source: proc + "/fd",
		Meaning: "descriptors that the process has open", Unknown: ownerless,
		Num:    func(r *Record) float64 { return float64(ownerOf(r).FDs) },
		SetNum: func(r *Record, v float64) { r.owner().FDs = int(v) },
	},
	{
		Field: FieldFDLimit, Name: "fd_limit", Type: TypeNumber, Cost: CostOwner, Source: proc + "/limits",
		Meaning: "descriptors that the process may open (soft limit)", Unknown: ownerless + ", unlimited",
		Num:    func(r *Record) float64 { return float64(ownerOf(r).FDLimit) },
		SetNum: func(r *Record, v float64) { r.owner().FDLimit = uint64(v) },
	},
	{
		Field: FieldCgroup, Name: "cgroup", Type: TypeString, Cost: CostCgroup, Source: proc + "/cgroup, sock_diag and cgroup2",
		Meaning: "cgroup path of the process, or if that is not known the one that the socket, or its listener, was made in",
		Unknown: "nobody known has it, and it shows none (TIME_WAIT, SYN_RECV, FIN_WAIT2 orphans, cgroup v1), or one that was removed",
		Str:     cgroupOf,
		SetStr:  func(r *Record, v string) { r.owner().Cgroup = v },
	},
	{
		Field: FieldUnit, Name: "unit", Type: TypeString, Cost: CostCgroup, Source: proc + "/cgroup",
		Meaning: "systemd unit of the process, \"\" for none", Unknown: ownerless,
		Str:    func(r *Record) string { return ownerOf(r).Unit },
		SetStr: func(r *Record, v string) { r.owner().Unit = v },
	},
	{
		Field: FieldContainer, Name: "container", Type: TypeString, Cost: CostContainer, Source: engines,
		Meaning: "name of the container, \"\" outside of containers", Unknown: nameless,
		Str:    func(r *Record) string { return ownerOf(r).ContainerName },
		SetStr: func(r *Record, v string) { r.owner().ContainerName = v },
	},
	{
		Field: FieldContainerID, Name: "container_id", Type: TypeString, Cost: CostCgroup, Source: proc + "/cgroup",
		Meaning: "id of the container (64 hex digits), \"\" outside of containers", Unknown: ownerless,
		Str:    func(r *Record) string { return ownerOf(r).Container },
		SetStr: func(r *Record, v string) { r.owner().Container = v },
	},
	{
		Field: FieldComposeService, Name: "compose_service", Type: TypeString, Cost: CostContainer, Source: engines,
		Meaning: "service of Compose by the label of the container, which an image can bring along; \"\" for none", Unknown: nameless,
		Str:    func(r *Record) string { return ownerOf(r).ComposeService },
		SetStr: func(r *Record, v string) { r.owner().ComposeService = v },
	},
	{
		Field: FieldPod, Name: "pod", Type: TypeString, Cost: CostContainer, Source: engines + ", /var/log/pods",
		Meaning: "Kubernetes pod as NAMESPACE/NAME, \"\" outside of one", Unknown: nameless,
		Str:    func(r *Record) string { return ownerOf(r).Pod },
		SetStr: func(r *Record, v string) { r.owner().Pod = v },
	},
	{
		Field: FieldImage, Name: "image", Type: TypeString, Cost: CostContainer, Source: engines,
		Meaning: "image of the container, as whoever started it called it; \"\" outside of containers", Unknown: nameless,
		Str:    func(r *Record) string { return ownerOf(r).Image },
		SetStr: func(r *Record, v string) { r.owner().Image = v },
	},
}
