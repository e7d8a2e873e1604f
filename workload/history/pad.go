package history

import (
	"crypto/md5"
	"encoding/binary"
)

// PadLength is the length of every pad in bytes: beyond what PostgreSQL keeps in
// the row itself, so that the column is toasted.
const PadLength = 3000

const padAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-"

// Pad is the pad of register key as transaction n inserted it: text that does not
// compress, a function of its arguments.
func Pad(seed uint64, key, n int64) string {
	return string(AppendPad(make([]byte, 0, PadLength), seed, key, n))
}

// AppendPad appends Pad(seed, key, n) to dst.
func AppendPad(dst []byte, seed uint64, key, n int64) []byte {
	state := seed ^ uint64(key)*0xd1342543de82ef95 ^ uint64(n)*0xaf251af3b0f025b5
	for range PadLength / 10 {
		state += 0x9e3779b97f4a7c15 // splitmix64, Steele et al. 2014
		x := state
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
		for range 10 {
			dst = append(dst, padAlphabet[x&63])
			x >>= 6
		}
	}
	return dst
}

// PadSumSQL is the SQL expression, on a column named pad, that equals PadSum: a
// snapshot of the registers need not carry the pads.
const PadSumSQL = `('x'||substr(md5(pad),1,15))::bit(60)::bigint`

// PadSum is the first 15 hex digits of pad's MD5 as a number.
func PadSum(pad string) int64 {
	sum := md5.Sum([]byte(pad))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 4)
}
