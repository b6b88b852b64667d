// Package containers knows containers by their names: what a container engine of
// this host says of the ids that control groups bear.
//
// Comes in: ids and pods of control groups (package cgroup, RefOf). Goes out: for
// each a Container with the parts that are known (Container.Has), or the reason why
// nothing is. Nothing is changed, but by Restart.
//
// # Whom it asks
//
// Docker's API over its Unix socket, else what dockerd keeps in its data root; what
// podman and CRI-O keep in containers/storage, and podman's API for the rest of it;
// the bundles of containerd's CRI; the kubelet's directory of logs for the pod
// alone. There is no gRPC: what the CRI would say of names stands in those files.
// DOCKER_HOST counts only where the caller hands it to Places.AddDockerHost.
//
// # What it believes
//
// A name can make a rule act. So a socket or a file counts only if nobody but root
// and the running user could have put it there (package trust) and if one of them
// listens; an answer must be about the id that was asked for, and what it says is
// checked for length and characters. What an image's or a pod's author can choose is
// not taken for the name of a pod; labels, and with them ComposeService, are what
// they are: whoever makes an image can put any into it, and Compose overwrites its
// own.
//
// # What it costs
//
// A first Lookup takes about 1 ms, and 0.6 ms for each container (Docker 20.10),
// then nothing for a minute; where no engine is, less than 1 ms in ten seconds. Nobody
// waits for more than Patience, and for what was silent nobody waits again: the
// questions go on beside for two seconds at most, on a single goroutine. Only a disk
// that hangs keeps one for longer.
//
// # How to integrate it
//
// Make one Names with the watcher, or with the command, and give it the ids of all
// candidates of a cycle in one Lookup, if a rule or column reads a field of it:
//
//	names := containers.New(containers.Options{Places: containers.Host()})
//	refs := []containers.Ref{containers.RefOf(cgroup.Path(owner.Cgroup)), ...}
//	for id, a := range names.Lookup(ctx, refs...) {
//		if c := a.Container; a.Err == nil && c.Has(containers.PartName) { ... c.Name ... }
//	}
//
// A part that is not known leaves its field unknown; outside of a container (Ref.ID
// is "") the field is known to be "". An Err that is not ErrNoSuch or ErrNoEngine is
// worth one note of the report. What a later look needs (a guard, a recheck) it
// asks again: answers are up to a minute old. Running serves docker-proxy: the
// container whose Addrs hold the address of its command line.
package containers
