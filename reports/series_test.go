package reports

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// A series keeps few points, in order, and never loses the largest value.
func TestSeriesKeepsThePeak(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(2, 50).Draw(t, "limit")
		values := rapid.SliceOfN(rapid.Float64Range(-1e9, 1e9), 1, 3000).Draw(t, "values")
		s := newSeries(limit)
		peak := math.Inf(-1)
		for i, v := range values {
			if i%7 == 6 {
				s.add(float64(i), math.NaN())
				continue
			}
			peak = max(peak, v)
			s.add(float64(i), v)
		}
		if len(s.points) > 2*limit {
			t.Fatalf("%d points, limit %d", len(s.points), limit)
		}
		got := math.Inf(-1)
		for i, p := range s.points {
			if i > 0 && p.t <= s.points[i-1].t {
				t.Fatalf("point %d at %g does not follow %g", i, p.t, s.points[i-1].t)
			}
			if !math.IsNaN(p.v) {
				got = max(got, p.v)
			}
		}
		if got != peak {
			t.Fatalf("peak %g, want %g", got, peak)
		}
	})
}

func TestNiceStep(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.1: 2, 4.2: 5, 7: 10, 230: 500, 1e9: 1e9} {
		if got := niceStep(v); math.Abs(got-want) > want*1e-9 {
			t.Errorf("niceStep(%g) = %g, want %g", v, got, want)
		}
	}
}
