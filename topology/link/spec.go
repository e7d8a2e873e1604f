package link

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// maxDelay bounds a link's base delay.
const maxDelay = time.Minute

// Spec says what link to make.
type Spec struct {
	From, To string
	// Port to listen on, at the address of the set; 0 is a free one.
	Port int
	// Server is the address of To's server, as the link dials it. It need not listen yet; while
	// it does not, connections are reset.
	Server string
	// Delay of every byte, each way once, beside whatever the gates do: a round trip takes twice as much longer. It is
	// the length of the line: the same for the life of the link, no part of a Gate and not ended by Heal. That a connection is
	// accepted is not delayed, what is sent on it is.
	Delay time.Duration
}

// Name is the link's name, "from>to".
func (s Spec) Name() string { return s.From + ">" + s.To }

// String is what ParseSpec reads: "from=n2,to=n1,listen=6001,server=n1:5432,delay=30ms".
func (s Spec) String() string {
	text := fmt.Sprintf("from=%s,to=%s,listen=%d,server=%s", s.From, s.To, s.Port, s.Server)
	if s.Delay > 0 {
		text += ",delay=" + s.Delay.String()
	}
	return text
}

// ParseSpec reads a link as a flag has it: key=value pairs in any order, without anything that a shell or YAML would want
// quoted. delay may be left out; listen must not be, for somebody has to know it.
func ParseSpec(text string) (Spec, error) {
	s, err := parseSpec(text)
	if err != nil {
		return Spec{}, fmt.Errorf("link %q: %w", text, err)
	}
	return s, nil
}

func parseSpec(text string) (Spec, error) {
	var s Spec
	given := map[string]bool{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return Spec{}, fmt.Errorf("%q is not key=value, as in from=n2,to=n1,listen=6001,server=n1:5432,delay=30ms", pair)
		}
		if given[key] {
			return Spec{}, fmt.Errorf("%s is given twice", key)
		}
		if err := s.set(key, value); err != nil {
			return Spec{}, err
		}
		given[key] = true
	}
	for _, key := range []string{"from", "to", "listen", "server"} {
		if !given[key] {
			return Spec{}, fmt.Errorf("%s is missing", key)
		}
	}
	if err := s.check(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

func (s *Spec) set(key, value string) (err error) {
	switch key {
	case "from":
		s.From = value
	case "to":
		s.To = value
	case "server":
		s.Server = value
	case "listen":
		if s.Port, err = strconv.Atoi(value); err != nil || s.Port == 0 {
			return fmt.Errorf("listen is %q, must be a port", value)
		}
	case "delay":
		if s.Delay, err = time.ParseDuration(value); err != nil {
			return fmt.Errorf("delay is %q, must be a duration such as 30ms", value)
		}
	default:
		return fmt.Errorf("unknown key %q; there are from, to, listen, server, delay", key)
	}
	return nil
}

func (s Spec) check() error {
	for _, name := range []string{s.From, s.To} {
		if !isName(name) {
			return fmt.Errorf("%q is no name of a node: letters, digits, '-', '_' and '.'", name)
		}
	}
	if s.From == s.To {
		return fmt.Errorf("from %s to itself", s.From)
	}
	if s.Port < 0 || s.Port > 65535 {
		return fmt.Errorf("there is no port %d", s.Port)
	}
	if s.Delay < 0 || s.Delay > maxDelay {
		return fmt.Errorf("delay is %s, must be from 0 to %s", s.Delay, maxDelay)
	}
	return checkAddr(s.Server)
}

func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && (host == "" || strings.ContainsAny(host, ",= ")) {
		err = errors.New("no host")
	}
	if n, perr := strconv.ParseUint(port, 10, 16); err == nil && (perr != nil || n == 0) {
		err = errors.New("no port")
	}
	if err != nil {
		return fmt.Errorf("%q is no address of a server such as n1:5432", addr)
	}
	return nil
}

func isName(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	}) < 0
}
