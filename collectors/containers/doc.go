// Package containers finds the names of containers: it asks the container engines of this
// host about the ids in control groups.
//
// Comes in: ids and pods of control groups (package cgroup, RefOf). Goes out: for each a
// Container with its known parts (Container.Has), or the reason why nothing is known.
// Only Restart changes anything.
//
// # Whom it asks
//
// Docker's API over its Unix socket, otherwise dockerd's files in its data root; the
// files of podman and CRI-O in containers/storage, and podman's API for the rest; the
// bundles of containerd's CRI; the kubelet's log directory, for the pod alone. It speaks
// no gRPC: what the CRI would say about names is in those files. DOCKER_HOST counts only
// if the caller passes it to Places.AddDockerHost.
//
// # What it believes
//
// A name can make a rule act. So a socket or a file counts only if nobody but root and
// the running user could have put it there (package trust), and a socket only if one of
// them listens. An answer must be about the id that we asked for; we check its lengths
// and characters. We never take text that the author of an image or a pod can choose for
// the name of a pod. Labels, and ComposeService with them, prove nothing: whoever makes
// an image can put any label into it, although Compose overwrites its own.
//
// # What it costs
//
// The first Lookup takes about 1 ms, and 0.6 ms for each container (Docker 20.10), then
// nothing for a minute; without an engine, less than 1 ms every ten seconds. Nobody waits
// longer than Patience, or twice for an engine that was silent: its questions go on in
// the background for two seconds at most, on a single goroutine. Only a disk that hangs
// keeps one for longer.
//
// # How to use it
//
// Make one Names per watcher or command. In each cycle, pass it the ids of all candidates
// in a single Lookup, if a rule or column reads such a field:
//
//	names := containers.New(containers.Options{Places: containers.Host()})
//	refs := []containers.Ref{containers.RefOf(cgroup.Path(owner.Cgroup)), ...}
//	for id, a := range names.Lookup(ctx, refs...) {
//		if c := a.Container; a.Err == nil && c.Has(containers.PartName) { ... c.Name ... }
//	}
//
// An unknown part leaves its field unknown; outside of a container (Ref.ID is "") the
// field is known to be "". An Err other than ErrNoSuch or ErrNoEngine deserves one note
// in the report. Answers are up to a minute old: guards and rechecks that need a current
// one ask again. Running serves docker-proxy: it finds the container whose Addrs hold the
// address on docker-proxy's command line.
package containers
