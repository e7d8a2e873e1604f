package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spockchaos/spockchaos/topology"
)

// requestLimit bounds one request: what the API does takes microseconds, a reset of many connections a little more.
const requestLimit = 2 * time.Second

// Set is the links that another process holds. Its methods are safe for concurrent use, but for Publish.
type Set struct {
	addr  string
	http  *http.Client
	links []*remoteLink
}

// Dial asks the control API at addr what links there are. Close ends the connections to it.
func Dial(ctx context.Context, addr string) (*Set, error) {
	s := &Set{addr: addr, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	var all []linkBody
	if err := s.do(ctx, http.MethodGet, "/links", nil, &all); err != nil {
		s.Close()
		return nil, fmt.Errorf("asking %s for its links: %w", addr, err)
	}
	for _, l := range all {
		s.links = append(s.links, &remoteLink{
			set: s, from: l.From, to: l.To, addr: l.Listen,
			path: "/links/" + url.PathEscape(l.From) + "/" + url.PathEscape(l.To),
		})
	}
	return s, nil
}

// Publish says at what addresses the harness dials the links, by their names: where the ports of their container are
// published. Every link must be there. Without it a link's Addr is where its process says that it listens.
func (s *Set) Publish(addrs map[string]string) error {
	for _, l := range s.links {
		if addrs[l.Name()] == "" {
			return fmt.Errorf("it is not known where link %s is published", l.Name())
		}
	}
	for _, l := range s.links {
		l.addr = addrs[l.Name()]
	}
	return nil
}

// Links in the order they were made.
func (s *Set) Links() []topology.Link {
	all := make([]topology.Link, len(s.links))
	for i, l := range s.links {
		all[i] = l
	}
	return all
}

// Link by its ends, nil if there is none.
func (s *Set) Link(from, to string) topology.Link {
	for _, l := range s.links {
		if l.from == from && l.to == to {
			return l
		}
	}
	return nil
}

// Close ends the connections to the API; the links stay as they are.
func (s *Set) Close() { s.http.CloseIdleConnections() }

// errChanged: the gate is no longer as it was seen.
var errChanged = errors.New("it is changed by somebody else all the time")

// do makes one request. in is nil for one without a body, out for an answer that says nothing.
func (s *Set) do(ctx context.Context, method, path string, in, out any) error {
	limited, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	err := s.request(limited, method, path, in, out)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("no answer from %s in %s", s.addr, requestLimit)
	}
	var outer *url.Error // says method and URL, which helps nobody
	if errors.As(err, &outer) {
		err = outer.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s ended the connection without an answer", s.addr)
	}
	return err
}

func (s *Set) request(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, body)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or of no use
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusConflict:
		return errChanged
	case resp.StatusCode != http.StatusOK:
		var e errorBody
		if json.Unmarshal(answer, &e) != nil || e.Error == "" {
			e.Error = "status " + resp.Status
		}
		return fmt.Errorf("%s: %s", s.addr, e.Error)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s is no control API of links: %w", s.addr, err)
	}
	return nil
}
