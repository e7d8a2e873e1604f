package checker

import (
	"fmt"
	"strings"
)

// judgeKey judges a conflict key: the survivors must hold the same write, and it must be one that no
// other write that is there supersedes. Writes are ordered by the commit timestamps that the servers gave
// them, since that is what the engines go by.
func (w *walker) judgeKey(key int64, hot bool, sides []side) {
	union, newest := w.unite(key, sides)
	var held []*write
	agreed := true
	for i := range sides {
		if x := &sides[i]; x.sound {
			held = append(held, x.row)
			agreed = agreed && sameWrite(x.row, held[0])
		}
	}
	for _, r := range held { // of equal timestamps, the one that somebody holds
		if r != nil && r.at == newest.at {
			newest = *r
			break
		}
	}
	for i := range sides {
		x := &sides[i]
		if !x.sound || len(x.writes) == 0 && x.row == nil && agreed || x.row != nil && x.row.id == newest.id {
			continue
		}
		if !agreed {
			w.conflictDiverged(key, hot, x, newest, holders(sides, newest), union)
			continue
		}
		if top, _ := supersedes(x.row, x.writes); top < newest.at {
			rule, why := w.causality(key, hot, x, top, newest, union)
			w.conflictWrong(Lost, rule, why, key, x, newest, "no survivor holds")
		}
	}
}

// unite puts the sides' writes together, and finds the newest. A write that two of
// them have with different commit timestamps is a finding of its own.
func (w *walker) unite(key int64, sides []side) (union map[opID]write, newest write) {
	union = w.union
	clear(union)
	for i := range sides {
		for _, v := range sides[i].writes {
			if newest.id == noRow || v.at > newest.at {
				newest = v
			}
			u, known := union[v.id]
			if !known {
				union[v.id] = v
				continue
			}
			if u.at != v.at {
				w.onEach(sides[i].group, Diverged, "conflict_timestamp", 1, func(node string) example {
					return example{key: conflictName(key), from: moment(min(u.at, v.at)), to: moment(max(u.at, v.at)),
						summary: fmt.Sprintf("%s has %s of %s with the commit timestamp %s, another survivor with %s: a later conflict ends differently on them",
							node, opKey(v.id.session, v.id.n), conflictName(key), clock(v.at), clock(u.at)),
						details: map[string]any{"at": moment(v.at), "elsewhere": moment(u.at), "written_to": w.writer(v.id)}}
				})
			}
		}
	}
	return union, newest
}

// holders says who holds a write: "n2 and n3 hold".
func holders(sides []side, v write) string {
	var nodes []string
	for _, x := range sides {
		if x.row != nil && x.row.id == v.id {
			nodes = append(nodes, x.group.nodes...)
		}
	}
	switch len(nodes) {
	case 0:
		return "no survivor holds"
	case 1:
		return nodes[0] + " holds"
	}
	return strings.Join(nodes[:len(nodes)-1], ", ") + " and " + nodes[len(nodes)-1] + " hold"
}

func sameWrite(a, b *write) bool { return a == b || a != nil && b != nil && a.id == b.id }

// supersedes finds the latest commit timestamp that row, a write or none, may have come after. That is its own, if
// every write overwrote only what its node's clock had seen before. But a node whose clock is behind overwrites rows with later
// timestamps than its own: so whatever row comes after may itself have overwritten something later, and so on. through are
// the writes that did.
func supersedes(row *write, writes []write) (top int64, through []write) {
	if row == nil {
		return -1, nil
	}
	top = row.at
	byID := make(map[opID]write, len(writes))
	for _, v := range writes {
		byID[v.id] = v
	}
	for more := true; more; {
		more = false
		for _, v := range writes {
			if prev, ok := byID[v.prev]; ok && v.at <= top && prev.at > top {
				top, more = prev.at, true
				through = append(through, v)
			}
		}
	}
	return top, through
}
