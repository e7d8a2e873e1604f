// Command spockchaos breaks a multi-master PostgreSQL cluster, rescues it, and
// proves from the recorded history whether every write that a survivor had came back.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(app().Main(context.Background(), os.Args[1:]))
}
