package exec

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// interpreter says what is wrong with the first line of a script; execve(2) would say
// only that there is no such file.
func interpreter(program string) error {
	f, err := os.Open(program)
	if err != nil {
		return nil // an executable file need not be readable
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 256) // as much as the kernel reads (BINPRM_BUF_SIZE)
	n, err := io.ReadFull(f, head)
	if err != nil && n == 0 {
		return nil // an empty file is not a script
	}
	line, isScript := bytes.CutPrefix(head[:n], []byte("#!"))
	if !isScript {
		return nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	if bytes.HasSuffix(line, []byte("\r")) {
		return fmt.Errorf("%s: its first line ends with CR LF, so that no interpreter has that name: "+ //nolint:err113 // for people
			"sed -i 's/\\r$//' %s", program, program)
	}
	words := strings.Fields(string(line))
	if len(words) == 0 {
		return fmt.Errorf("%s: its first line is #! and names no interpreter", program) //nolint:err113 // for people
	}
	if _, err := os.Stat(words[0]); err != nil {
		return fmt.Errorf("%s: its interpreter: %w", program, err)
	}
	return nil
}
