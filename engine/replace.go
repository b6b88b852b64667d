package engine

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// replaceFile puts a file in the place of another; readers see either the old
// or the new one, whole.
func replaceFile(path string, content []byte) error {
	// Always the same name, under the lock of whoever writes: a writer that is
	// killed leaves at most one file behind, and the next one takes it over.
	tmp, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_, err = tmp.Write(content)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
