package bpf

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// enotsupp is ENOTSUPP (include/linux/errno.h), which has no name outside the kernel.
const enotsupp = unix.Errno(524)

// classify adds the sentinel error of package collectors that matches. The verifier, too,
// says EACCES and EPERM, but gives a reason; what it refuses to one process it refuses to
// all.
func classify(err error) error {
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) && len(refused.Log) > 0 {
		return fmt.Errorf("%w: %w", collectors.ErrNotSupported, err)
	}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", collectors.ErrNotPermitted, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ebpf.ErrNotSupported),
		errors.Is(err, btf.ErrNotFound), errors.Is(err, btf.ErrMultipleMatches),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.E2BIG),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, enotsupp):
		return fmt.Errorf("%w: %w", collectors.ErrNotSupported, err)
	}
	return err
}
