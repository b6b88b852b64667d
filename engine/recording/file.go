package recording

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
)

// Compressed is how names of compressed recordings end.
const Compressed = ".zst"

// maxWindow bounds the memory of a decoder, in bytes; what is written here needs less.
const maxWindow = 64 << 20

// zstdMagic begins what zstd has compressed (RFC 8878).
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// ErrExists says that there is something of that name already.
var ErrExists = errors.New("exists already")

// Open reads a recording from a file, compressed or not.
func Open(path string) (*Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	defer func() { _ = f.Close() }()
	r, err := ReadAny(f)
	if err != nil {
		return nil, fmt.Errorf("recording %s: %w", path, err)
	}
	return r, nil
}

// ReadAny is Read of what may be compressed.
func ReadAny(from io.Reader) (*Recording, error) {
	in := bufio.NewReader(from)
	if begin, _ := in.Peek(len(zstdMagic)); !bytes.Equal(begin, zstdMagic) {
		return Read(in)
	}
	z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	defer z.Close()
	return Read(z)
}

// File is a recording that is being made. It is nobody's but ours until Keep.
type File struct {
	file    *os.File
	dir     *trust.Directory
	name    string // it is made under this name
	replace string // and gets this one, "" if it has it
	zip     bool
}

// Create makes the file of a recording, which only the user can read. It follows no link to
// it, and replaces what is there only if told to, once the recording is whole.
func Create(path string, replace bool) (*File, error) {
	dir, name, err := trust.Parent(path)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	f := &File{dir: dir, name: name, zip: strings.HasSuffix(path, Compressed)}
	if replace {
		f.replace, f.name = name, name+"."+rand.Text()+".new"
	}
	fd, err := unix.Openat(dir.FD(), f.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		dir.Close()
		if errors.Is(err, fs.ErrExist) {
			err = ErrExists
		}
		return nil, fmt.Errorf("recording %s: %w", path, err)
	}
	f.file = os.NewFile(uintptr(fd), path)
	return f, nil
}

// Keep writes the recording and makes the file last.
func (f *File) Keep(r *Recording) error {
	err := WriteAny(f.file, r, f.zip)
	if err == nil {
		err = f.file.Sync()
	}
	if err == nil && f.replace != "" {
		err = unix.Renameat(f.dir.FD(), f.name, f.dir.FD(), f.replace)
	}
	if err != nil {
		name := f.file.Name()
		f.Drop()
		return fmt.Errorf("recording %s: %w", name, err)
	}
	f.close()
	return nil
}

// Drop removes the file.
func (f *File) Drop() {
	if f.file == nil {
		return
	}
	_ = unix.Unlinkat(f.dir.FD(), f.name, 0)
	f.close()
}

func (f *File) close() {
	_ = f.file.Close()
	f.dir.Close()
	f.file = nil
}

// WriteAny is Write that compresses if told to.
func WriteAny(to io.Writer, r *Recording, compress bool) error {
	if !compress {
		return r.Write(to)
	}
	z, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(2))
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if err := errors.Join(r.Write(z), z.Close()); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}
