package bpf

import (
	"fmt"
	"math"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// layout finds structure members in the running kernel. It keeps the first error in err,
// so a program can be written in one go and checked once.
type layout struct {
	types *btf.Spec
	err   error
}

// load reads a structure member into dst. src points to the structure; path leads to the
// member through embedded structures.
func (l *layout) load(dst, src asm.Register, structure string, path ...string) asm.Instruction {
	offset, size, err := l.member(structure, path)
	if err != nil {
		l.fail(fmt.Errorf("find %s %v in the kernel's types: %w", structure, path, err))
	}
	return asm.LoadMem(dst, src, offset, size)
}

// offset returns the offset of a structure member, in bytes.
func (l *layout) offset(structure, name string) int32 {
	var s *btf.Struct
	err := l.types.TypeByName(structure, &s)
	if err == nil {
		if _, at, ok := find(s.Members, name); ok {
			return int32(at)
		}
		err = btf.ErrNotFound
	}
	l.fail(fmt.Errorf("find %s.%s in the kernel's types: %w", structure, name, err))
	return 0
}

// has reports whether a structure has a member.
func (l *layout) has(structure, name string) bool {
	var s *btf.Struct
	if l.types.TypeByName(structure, &s) != nil {
		return false
	}
	_, _, ok := find(s.Members, name)
	return ok
}

// sizeof returns the size of a structure in bytes.
func (l *layout) sizeof(structure string) int32 {
	var s *btf.Struct
	err := l.types.TypeByName(structure, &s)
	if err != nil {
		l.fail(fmt.Errorf("find %s in the kernel's types: %w", structure, err))
		return 0
	}
	return int32(s.Size)
}

func (l *layout) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *layout) member(structure string, path []string) (int16, asm.Size, error) {
	var s *btf.Struct
	if err := l.types.TypeByName(structure, &s); err != nil {
		return 0, 0, err //nolint:wrapcheck // load says what it was for
	}
	var at uint32
	var typ btf.Type = s
	for _, name := range path {
		m, offset, ok := find(members(typ), name)
		if !ok || m.BitfieldSize != 0 {
			return 0, 0, fmt.Errorf("member %s: %w", name, btf.ErrNotFound)
		}
		at += offset
		typ = m.Type
	}
	bytes, err := btf.Sizeof(typ)
	if err != nil {
		return 0, 0, err //nolint:wrapcheck // load says what it was
	}
	size, ok := map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word, 8: asm.DWord}[bytes]
	if !ok || at > math.MaxInt16 {
		return 0, 0, fmt.Errorf("%d bytes at %d: %w", bytes, at, btf.ErrNotFound)
	}
	return int16(at), size, nil
}

// find looks for a member, also inside unnamed structures and unions.
func find(in []btf.Member, name string) (m btf.Member, offset uint32, ok bool) {
	for _, m := range in {
		if m.Name == name {
			return m, m.Offset.Bytes(), true
		}
		if m.Name != "" {
			continue
		}
		if inner, offset, ok := find(members(m.Type), name); ok {
			return inner, m.Offset.Bytes() + offset, true
		}
	}
	return btf.Member{}, 0, false
}

func members(t btf.Type) []btf.Member {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}
