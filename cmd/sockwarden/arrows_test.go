package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestArrows holds the imports between the rooms.
func TestArrows(t *testing.T) {
	forbidden := map[string][]string{
		"collectors":          {"sockwarden/rules", "sockwarden/engine", "sockwarden/actions", "sockwarden/cmd"},
		"rules":               {"sockwarden/engine", "sockwarden/actions", "sockwarden/cmd"},
		"rules/lang":          {"sockwarden/rules"},
		"actions":             {"sockwarden/rules", "sockwarden/engine", "sockwarden/cmd"},
		"engine":              {"sockwarden/cmd"},
		"cmd/sockwarden/view": {"sockwarden/cmd", "os", "flag", "github.com/spf13"}, // it shows what it is given
	}
	for room, others := range forbidden {
		files := 0
		err := filepath.WalkDir(filepath.Join(root, room), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, imported := range file.Imports {
				name := strings.Trim(imported.Path.Value, `"`)
				for _, other := range others {
					if name == other || strings.HasPrefix(name, other+"/") {
						t.Errorf("%s imports %s", path, name)
					}
				}
			}
			return nil
		})
		if err != nil || files == 0 {
			t.Errorf("%s: %d files, %v", room, files, err)
		}
	}
}
