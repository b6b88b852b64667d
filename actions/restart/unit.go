package restart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"sockwarden/actions"
	"sockwarden/actions/exec"
	"sockwarden/collectors/cgroup"
)

// errNoSystemd says that no unit can be restarted here.
var errNoSystemd = errors.New("systemd does not run here")

// systemctl says whether systemd runs here, by sd_booted(3), and there is a systemctl
// that can be trusted.
func systemctl() error {
	_, err := os.Stat("/run/systemd/system")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errNoSystemd, err)
	}
	if err != nil {
		return fmt.Errorf("whether systemd runs: %w", err)
	}
	_, err = exec.NewCommand("", 0, "systemctl")
	return err
}

// unit prepares the restart of the unit of a process.
func (a action) unit(t *actions.Target, proves func() error) (actions.Effect, error) {
	unit := t.Process.Unit
	switch {
	case unit == "":
		return nil, fmt.Errorf("process %d belongs to no systemd unit and no container", t.Process.PID)
	case !isService(unit), !cgroup.Path(t.Process.Cgroup).OfSystem(unit):
		return nil, fmt.Errorf("unit %q of process %d is not a service of the system", unit, t.Process.PID)
	}
	if err := proves(); err != nil {
		return nil, err
	}
	run, err := exec.NewCommand("restart unit "+unit, a.timeout, "systemctl", "restart", "--", unit)
	if err != nil {
		return nil, err
	}
	return unitEffect{run, proves}, nil
}

// unitEffect is the command, if the process still holds one of the sockets.
type unitEffect struct {
	exec.Command
	proves func() error
}

// Apply starts systemctl and does not wait for it.
func (e unitEffect) Apply(ctx context.Context) actions.Outcome {
	if err := e.proves(); err != nil {
		return actions.OutcomeOf(err)
	}
	return e.Command.Apply(ctx)
}

// nameChars are what names of units consist of (systemd.unit(5)). Others would
// be a pattern for systemctl, and come from a control group that somebody made.
const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"

func isService(unit string) bool {
	return strings.HasSuffix(unit, ".service") && strings.Trim(unit, nameChars) == "" &&
		!strings.HasPrefix(unit, "user@") && !strings.HasPrefix(unit, "-")
}
