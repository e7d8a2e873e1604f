package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/jackc/pgx/v5"
)

// Ping asks a server one question over a connection of its own.
func Ping(ctx context.Context, dsn string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	var one int
	return c.QueryRow(ctx, "SELECT 1").Scan(&one)
}

// NewPassword is 128 bits in hexadecimal, which needs quoting nowhere. It is a
// secret, so it does not come from the seed.
func NewPassword() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
