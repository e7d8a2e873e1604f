package chaos

import "testing"

func TestLineOf(t *testing.T) {
	text := []byte("-- ä\nSELECT\n\n1")
	for character, want := range map[int]int{1: 1, 4: 1, 5: 1, 6: 2, 12: 2, 13: 3, 14: 4, 99: 4} {
		if got := lineOf(text, character); got != want {
			t.Errorf("character %d is in line %d, want %d", character, got, want)
		}
	}
}
