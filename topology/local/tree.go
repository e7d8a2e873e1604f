package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// stamp tells whether a file is still the one that was looked at: any write to it, and any attempt to
// hide one, changes the time of its last status change, which nobody can set. (Its clock may tick every few
// milliseconds only; between a look and the first write there is the start of a server.)
type stamp struct {
	inode            uint64
	size             int64
	modified, status syscall.Timespec
}

// stamps are a tree's files by path relative to its root.
type stamps map[string]stamp

func stampOf(info fs.FileInfo) stamp {
	st := info.Sys().(*syscall.Stat_t)
	return stamp{inode: st.Ino, size: st.Size, modified: st.Mtim, status: st.Ctim}
}

// stampTree looks at every file of a tree.
func stampTree(root string) (stamps, error) {
	all := stamps{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		all[rel] = stampOf(info)
		return err
	})
	return all, err
}

// syncTree makes dst what src is: contents, owners, modes. Files of dst that bear the stamp they had when
// they last were like those of src are left alone: of a data directory a round changes a tenth, and the copy
// of the rest is most of what a Restore costs. It returns dst's new stamps.
func syncTree(ctx context.Context, src, dst string, known stamps) (_ stamps, copied int, err error) {
	want := map[string]bool{}
	now := make(stamps, len(known))
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		want[rel] = true
		to := filepath.Join(dst, rel)
		there, err := os.Lstat(to)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		exists := err == nil
		if exists && !d.IsDir() {
			if s, ok := known[rel]; ok && s == stampOf(there) {
				now[rel] = s
				return nil
			}
		}
		if exists && (there.IsDir() != d.IsDir() || !d.IsDir()) {
			if err := os.RemoveAll(to); err != nil {
				return err
			}
			exists = false
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && !exists:
			err = os.Mkdir(to, info.Mode().Perm())
		case d.IsDir():
		case info.Mode().IsRegular():
			copied++
			err = copyFile(path, to, info.Mode().Perm())
		default:
			err = fmt.Errorf("%s is neither a file nor a directory", path)
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if os.Geteuid() == 0 {
			if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
				return err
			}
		}
		if d.IsDir() {
			return nil
		}
		if there, err = os.Lstat(to); err != nil {
			return err
		}
		now[rel] = stampOf(there)
		return nil
	})
	if err != nil {
		return nil, copied, err
	}
	// What src has not goes.
	err = filepath.WalkDir(dst, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dst, path)
		if err != nil || want[rel] {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return now, copied, err
}

// copyFile within the kernel where it can; sharing blocks where the file system can.
func copyFile(src, dst string, mode fs.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
