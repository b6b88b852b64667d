package world

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"sockwarden/collectors/cgroupfs"
	"sockwarden/collectors/host"
	"sockwarden/collectors/procfs"
)

// Linux is this host.
type Linux struct {
	World
	owners *kernelOwners
}

// NewLinux finds out about this host and this process. owners says how to find owners,
// and workers how many goroutines may look at a time.
func NewLinux(owners OwnerSource, workers int, log *slog.Logger) (*Linux, error) {
	proc := procfs.New("")
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of this machine: %w", err)
	}
	version, err := host.RunningKernel()
	if err != nil {
		return nil, err
	}
	l := &Linux{owners: &kernelOwners{how: owners, log: log, proc: proc, workers: workers}}
	if owners == OwnersBPF {
		if _, err := l.owners.ownersProgram(); err != nil {
			l.Close()
			return nil, err
		}
	}
	engines := newEngines()
	l.World = World{
		Clock: realClock{}, Host: Host{Name: name, Kernel: version, Workers: workers}, Self: findSelf(proc),
		Namespaces: newKernelNamespaces(engines, l.owners.Coverage), Network: kernelNetwork{proc.Network}, Counter: kernelNetwork{proc.Network}, Sockets: kernelSockets{},
		Owners: l.owners, Processes: kernelProcesses{proc}, Containers: engines, Cgroups: cgroupfs.Paths, OpenEvents: openEvents,
		Dead: func(ctx context.Context) ([]Dead, int, error) { return deadSockets(ctx, proc) },
	}
	return l, nil
}

// Close unloads what was loaded into the kernel.
func (l *Linux) Close() { l.owners.close() }

// Repeats says that the same questions will come again and again: loading a program pays
// off.
func (k *kernelOwners) Repeats() { k.repeats = true }

func (k *kernelOwners) close() {
	if k.by != nil {
		_ = k.by.Close()
		k.by = nil
	}
}
