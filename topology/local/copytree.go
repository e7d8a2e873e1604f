package local

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
)

// copyTree copies a directory as dst, which must not exist, with owners and modes. cp shares blocks
// where the file system can, and copies within the kernel elsewhere. Hard links would not do: the copy is written to.
func copyTree(ctx context.Context, src, dst string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", src, dst)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(stderr.Bytes(), 1))
	}
	return nil
}
