package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// TestSyncTree changes a copy in every way a server may and brings it back.
func TestSyncTree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		root, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			r.Fatal(err)
		}
		src, dst := filepath.Join(root, "src"), filepath.Join(root, "dst")
		path := func() string {
			return fmt.Sprintf("%d/%d", rapid.IntRange(0, 2).Draw(r, "dir"), rapid.IntRange(0, 4).Draw(r, "file"))
		}
		put := func(root, rel, s string) {
			p := filepath.Join(root, rel)
			_ = os.MkdirAll(filepath.Dir(p), 0o700)
			if err := os.WriteFile(p, []byte(s), 0o600); err != nil {
				r.Fatal(err)
			}
		}
		_ = os.Mkdir(src, 0o700)
		for range rapid.IntRange(0, 10).Draw(r, "files") {
			put(src, path(), rapid.String().Draw(r, "content"))
		}
		var known stamps
		for round := range 3 {
			var copied int
			known, copied, err = syncTree(context.Background(), src, dst, known)
			if err != nil {
				r.Fatal(err)
			}
			if a, b := dump(r, src), dump(r, dst); a != b {
				r.Fatalf("round %d: %s became %s", round, a, b)
			}
			var again int
			if known, again, err = syncTree(context.Background(), src, dst, known); err != nil || again != 0 {
				r.Fatalf("copied %d, then %d files again: %v", copied, again, err)
			}
			for range rapid.IntRange(0, 5).Draw(r, "changes") {
				switch p := path(); rapid.IntRange(0, 3).Draw(r, "change") {
				case 0: // of the same size, and dated back
					abs := filepath.Join(dst, p)
					info, err := os.Stat(abs)
					if err != nil {
						continue
					}
					b, _ := os.ReadFile(abs)
					for i := range b {
						b[i]++
					}
					if err := os.WriteFile(abs, b, 0o600); err != nil {
						r.Fatal(err)
					}
					_ = os.Chtimes(abs, info.ModTime(), info.ModTime())
				case 1:
					put(dst, p, "new")
				case 2:
					_ = os.Remove(filepath.Join(dst, p))
				case 3:
					_ = os.RemoveAll(filepath.Join(dst, filepath.Dir(p)))
				}
			}
		}
	})
}

func dump(r *rapid.T, root string) (s string) {
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		s += fmt.Sprintf("%s %v ", rel, info.Mode())
		if !info.IsDir() {
			b, err := os.ReadFile(p)
			s += fmt.Sprintf("%q\n", b)
			return err
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	return s
}
