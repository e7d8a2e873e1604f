package link

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"strings"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/zap"
)

// Set is the links of one cluster on one embedded Toxiproxy.
type Set struct {
	bind   net.IP
	seed   uint64
	log    *zap.Logger
	server *toxiproxy.ApiServer

	mu     sync.Mutex
	closed bool
	links  []*Link
}

// Loopback is where the links of a set listen that serves this machine alone.
const Loopback = "127.0.0.1"

// NewSet makes an empty set whose links listen at the address bind. The seed decides, with a link's name and direction,
// every jitter. Toxiproxy itself is silent: it logs each connection that ends, which here is the purpose.
func NewSet(bind string, seed uint64, log *zap.Logger) (*Set, error) {
	ip := net.ParseIP(bind)
	if ip == nil {
		return nil, fmt.Errorf("links cannot listen at %q: not an IP address", bind)
	}
	if log == nil {
		return nil, errors.New("a set of links needs a logger")
	}
	register()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	return &Set{bind: ip, seed: seed, log: log, server: server}, nil
}

// New makes a link, which listens when New returns.
func (s *Set) New(spec Spec) (*Link, error) {
	name := spec.Name()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("making link %s: the set is closed", name)
	}
	for _, l := range s.links {
		if l.Name() == name {
			return nil, fmt.Errorf("making link %s: there is one", name)
		}
	}
	if err := spec.check(); err != nil {
		return nil, fmt.Errorf("making link %s: %w", name, err)
	}
	l := &Link{from: spec.From, to: spec.To, log: s.log.With(zap.String("link", name)), server: s.server, conns: map[*conn]struct{}{}}
	l.upstream.Store(&spec.Server)
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: s.bind, Port: spec.Port})
	if err != nil {
		return nil, fmt.Errorf("making link %s: %w", name, err)
	}
	l.listener = listener
	l.proxy = toxiproxy.NewProxy(s.server, name, listener.Addr().String(), spec.Server)
	for _, d := range []Direction{Upstream, Downstream} {
		// By JSON, since Toxiproxy has no other way to put a toxic into a chain.
		toxic := fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"toxicity":1,"attributes":{}}`, gateName(d), toxicType, d)
		w, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
		if err != nil {
			_ = listener.Close()
			return nil, fmt.Errorf("making link %s: installing the %s gate: %w", name, d, err)
		}
		gate, ok := w.Toxic.(*gateToxic)
		if !ok {
			_ = listener.Close()
			return nil, fmt.Errorf("making link %s: Toxiproxy made a %T in place of our gate", name, w.Toxic)
		}
		gate.valve = newValve(s.seed, streamOf(name, d), spec.Delay)
		l.gates[d] = gate
	}
	if err := s.server.Collection.Add(l.proxy, false); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("making link %s: %w", name, err)
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.owned.Add(1)
	go l.accept()
	s.links = append(s.links, l)
	return l, nil
}

// streamOf names a link's direction as a number, so that each has a random stream of its own.
func streamOf(name string, d Direction) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name + "/" + d.String()))
	return h.Sum64()
}

// Links in the order they were made.
func (s *Set) Links() []*Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Link(nil), s.links...)
}

// Close ends every link and every connection, held or not. It may be called more than once.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var wg sync.WaitGroup
	for _, l := range s.links {
		wg.Go(l.close)
	}
	wg.Wait()
	return nil
}
