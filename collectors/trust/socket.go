package trust

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNotSocket says that a path does not lead to a socket.
var ErrNotSocket = errors.New("is not a socket")

// Socket returns an error if somebody other than root and the running user could have put
// a Unix socket there, to answer in the name of a service. It does not matter who may
// connect. The error is ErrNotSocket, a *fs.PathError, or says who could have done it.
// Socket connects to nothing.
func (c *Checker) Socket(path string) error {
	w, err := follow(path)
	defer w.close()
	if err != nil {
		return err
	}
	if w.end.st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return ErrNotSocket
	}
	if foreign(w.end.st.Uid) {
		return fmt.Errorf("the socket %s belongs to uid %d, who can answer anything", w.end.path, w.end.st.Uid)
	}
	w.end.st.Mode &^= unix.S_IWGRP | unix.S_IWOTH // on a socket, write means connect
	return c.trusted(w)
}
