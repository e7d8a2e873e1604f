package checker

// rescueNotRepeatable judges the second call of each rescue: it must succeed and change nothing.
func rescueNotRepeatable(in *input, c *collector) {
	for _, r := range in.rescues {
		switch a := r.Again; {
		case a == nil:
		case !a.OK && in.round.Interrupted && !in.round.Complete:
		case !a.OK:
			c.add(RescueNotRepeatable, r.Target, "outcome", 1, func() example {
				return rescueExample(r, "failed when it was called again: "+a.Error)
			})
		case a.DigestBefore != a.DigestAfter:
			c.add(RescueNotRepeatable, r.Target, "data", 1, func() example {
				e := rescueExample(r, "changed data when it was called again")
				e.details["digest_before"], e.details["digest_after"] = a.DigestBefore, a.DigestAfter
				return e
			})
		}
	}
}
