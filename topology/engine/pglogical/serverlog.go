package pglogical

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"
)

// logEntry is one message of an apply worker.
type logEntry struct {
	at       time.Time
	severity string
	message  string
	detail   string
	broken   bool // something of it is cut off, mixed up or overlong
}

// linePrefix is log_line_prefix of topology/server as it is for an apply worker (its application_name is there where the extension gives the worker
// the looks of a session), and the severity. A server writes it before each part of a message; further lines of a part begin with a tab.
var linePrefix = regexp.MustCompile(`^([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3} UTC) ` +
	`(\[[0-9]+\] (?:(?:pglogical|spock) apply [0-9]+:[0-9]+ )?)([A-Z]+[1-5]?):  (.*)$`)

const logTime = "2006-01-02 15:04:05.000 MST"

// maxLine is how much of a line is read; maxEntry how long a part of a message may be. Neither is reached by what is looked for.
const (
	maxLine  = 16 << 10
	maxEntry = 64 << 10
)

// eachEntry gives the messages of a server log, in their order. A message and its DETAIL belong together only if they stand next to each other, of
// one process, at one time.
func eachEntry(log io.Reader, f func(logEntry) error) error {
	r := bufio.NewReaderSize(log, maxLine)
	var p logParser
	for {
		line, whole, err := readLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) > 0 || err == nil {
			if done := p.line(line, whole); done != nil {
				if err := f(*done); err != nil {
					return err
				}
			}
		}
		if err != nil {
			if done := p.end(); done != nil {
				return f(*done)
			}
			return nil
		}
	}
}

// readLine reads a line without its end. A line that is too long, or that the log ends in, is not whole.
func readLine(r *bufio.Reader) (line string, whole bool, err error) {
	b, err := r.ReadSlice('\n')
	line = string(b)
	whole = err == nil
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	return strings.TrimSuffix(line, "\n"), whole, err
}

// logParser holds the message that is being read.
type logParser struct {
	entry *logEntry
	stamp string  // time and process, as they stand in the line
	part  *string // what a further line belongs to; nil: nothing that is kept
}

// line takes the next line; it returns the message that ended before it.
func (p *logParser) line(text string, whole bool) (done *logEntry) {
	if rest, more := strings.CutPrefix(text, "\t"); more {
		switch {
		case p.part == nil:
		case !whole || len(*p.part)+len(rest) > maxEntry:
			p.entry.broken = true
		default:
			*p.part += "\n" + rest
		}
		return nil
	}
	m := linePrefix.FindStringSubmatch(text)
	if m == nil { // of somebody else
		return p.end()
	}
	stamp := m[1] + m[2]
	if isPart(m[3]) {
		if p.entry == nil || stamp != p.stamp {
			return p.end() // whose it is, is not known
		}
		p.part = nil
		if m[3] == "DETAIL" {
			p.entry.broken = p.entry.broken || !whole || p.entry.detail != ""
			p.entry.detail = m[4]
			p.part = &p.entry.detail
		}
		return nil
	}
	done = p.end()
	at, err := time.Parse(logTime, m[1])
	if err != nil {
		return done
	}
	p.entry = &logEntry{at: at.UTC(), severity: m[3], message: m[4], broken: !whole}
	p.stamp, p.part = stamp, &p.entry.message
	return done
}

// isPart says whether a severity is that of a further part of a message.
func isPart(severity string) bool {
	switch severity {
	case "DETAIL", "HINT", "CONTEXT", "QUERY", "STATEMENT", "LOCATION", "BACKTRACE":
		return true
	}
	return false
}

// end returns the message that was being read.
func (p *logParser) end() *logEntry {
	e := p.entry
	*p = logParser{}
	return e
}
