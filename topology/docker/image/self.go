package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// selfName is the repository of this program's images; `make image-self` uses the same.
const selfName = "spockchaos/spockchaos"

// Self is the image of the program that was built last, which a compose file names; `make image-self` makes it.
const Self = selfName + ":latest"

// EnsureSelf sees to it that the engine has an image of an executable of this program alone, and returns its reference.
// The reference is made of the file's content, so each build of the program is imported once.
func EnsureSelf(ctx context.Context, api Engine, executable string) (ref string, err error) {
	f, err := os.Open(executable)
	if err != nil {
		return "", fmt.Errorf("making an image of this program: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := checkStatic(f); err != nil {
		return "", fmt.Errorf("making an image of %s: %w", executable, err)
	}
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return "", fmt.Errorf("making an image of this program: %w", err)
	}
	ref = selfName + ":sha-" + hex.EncodeToString(hash.Sum(nil))[:12]
	switch has, err := onMachine(ctx, api, ref); {
	case err != nil:
		return "", err
	case has:
		return ref, nil
	}
	root, err := archive(f, size)
	if err != nil {
		return "", fmt.Errorf("making image %s: %w", ref, err)
	}
	if err := api.ImportImage(ctx, ref, root, `ENTRYPOINT ["/spockchaos"]`, "LABEL io.spockchaos.image=self"); err != nil {
		return "", fmt.Errorf("making image %s: %w", ref, err)
	}
	return ref, nil
}

// checkStatic refuses what would not start where there is no other file.
func checkStatic(f *os.File) error {
	e, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("it is no Linux program: %w", err)
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is dynamically linked and would not start alone: build it with make build (CGO_ENABLED=0)")
		}
	}
	return nil
}

// archive is a tar stream with the one file /spockchaos.
func archive(f io.ReaderAt, size int64) (io.Reader, error) {
	var head bytes.Buffer
	err := tar.NewWriter(&head).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "spockchaos", Mode: 0o755, Size: size})
	if err != nil {
		return nil, err
	}
	const block = 512
	end := (block-size%block)%block + 2*block // the file's last block is filled up; two empty blocks end the archive
	return io.MultiReader(&head, io.NewSectionReader(f, 0, size), bytes.NewReader(make([]byte, end))), nil
}
