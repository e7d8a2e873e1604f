package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile is the largest configuration file that is read: far above any real one.
const maxFile = 1 << 20

func (s *Set) loadFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--config %s: %w", clip(path), plainError(err))
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("--config %s: %w", clip(path), plainError(err))
	}
	if len(text) > maxFile {
		return fmt.Errorf("--config %s: larger than 1 MiB, so it is no configuration", clip(path))
	}
	return s.loadYAML(clip(path), text)
}

// loadYAML takes settings from a YAML mapping of flag names. Errors begin "name:line: ".
func (s *Set) loadYAML(name string, text []byte) (err error) {
	defer func() {
		// A parser of foreign text: should it ever panic, the text is at fault for the user.
		if p := recover(); p != nil {
			err = fmt.Errorf("%s:1: is not YAML (%v)", name, p)
		}
	}()
	file, perr := parser.ParseBytes(text, 0)
	if perr != nil {
		line, message := yamlError(perr)
		return fmt.Errorf("%s:%d: is not YAML: %s", name, line, message)
	}
	seen := map[string]int{}
	documents := 0
	for _, doc := range file.Docs {
		body := doc.Body
		if body == nil || body.Type() == ast.NullType || body.Type() == ast.CommentType {
			continue
		}
		if documents++; documents > 1 {
			return fmt.Errorf("%s:%d: a second document; there can be only one", name, lineOf(body))
		}
		pairs, ok := pairsOf(body)
		if !ok {
			return fmt.Errorf("%s:%d: must be lines of `setting: value`", name, lineOf(body))
		}
		for _, pair := range pairs {
			if err := s.loadPair(name, pair, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Set) loadPair(file string, pair *ast.MappingValueNode, seen map[string]int) error {
	line := lineOf(pair.Key)
	key := pair.Key.GetToken().Value
	f := s.all.Lookup(key)
	if f == nil {
		var known []string
		for _, o := range s.settings() {
			known = append(known, o.Name)
		}
		return fmt.Errorf("%s:%d: unknown setting %q%s; `spockchaos config` shows them all", file, line, clip(key), nearest(key, known))
	}
	if first, ok := seen[key]; ok {
		return fmt.Errorf("%s:%d: %s is set a second time, first in line %d", file, line, key, first)
	}
	seen[key] = line
	text, err := textFor(f.Value.(value).kind(), pair.Value)
	if err == nil {
		err = s.set(key, text, fromFile)
		if err != nil {
			err = fmt.Errorf("%s %w", clip(text), err)
		}
	}
	if err != nil {
		return fmt.Errorf("%s:%d: %s: %w", file, lineOf(pair.Value), key, err)
	}
	return nil
}

// textFor is the text that a flag would have for a node, or an error when the node has another type.
func textFor(k kind, n ast.Node) (string, error) {
	wrong := fmt.Errorf("must be %s, not %s", k, typeOf(n))
	switch n := n.(type) {
	case *ast.StringNode:
		if k == kindNumber || k == kindBool {
			return "", wrong
		}
		return n.Value, nil
	case *ast.LiteralNode:
		if k != kindText {
			return "", wrong
		}
		return strings.TrimSuffix(n.Value.Value, "\n"), nil
	case *ast.IntegerNode, *ast.FloatNode:
		if k == kindBool || k == kindList {
			return "", wrong
		}
		return n.GetToken().Value, nil
	case *ast.BoolNode:
		if k != kindBool {
			return "", wrong
		}
		return fmt.Sprint(n.Value), nil
	case *ast.SequenceNode:
		if k != kindList {
			return "", wrong
		}
		words := make([]string, 0, len(n.Values))
		for _, item := range n.Values {
			s, ok := item.(*ast.StringNode)
			if !ok {
				return "", fmt.Errorf("must be a list of names, not of %s", typeOf(item))
			}
			if strings.Contains(s.Value, ",") {
				return "", fmt.Errorf("has a comma in the name %q", clip(s.Value))
			}
			words = append(words, s.Value)
		}
		if len(words) == 0 {
			return "", errors.New("is an empty list")
		}
		return strings.Join(words, ","), nil
	}
	return "", wrong
}

func typeOf(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	}
	return "an anchor, alias or tag"
}

func pairsOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1
	}
	return n.GetToken().Position.Line
}

// yamlError is the line and the first sentence of a parser's error, without its picture of the source.
func yamlError(err error) (line int, message string) {
	line, message = 1, err.Error()
	var y yaml.Error
	if errors.As(err, &y) {
		message = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			line = t.Position.Line
		}
	}
	message, _, _ = strings.Cut(message, "\n")
	return line, clip(message)
}

// YAML is the effective configuration as a file that --config reads back.
func (s *Set) YAML() ([]byte, error) {
	var m yaml.MapSlice
	for _, f := range s.settings() {
		m = append(m, yaml.MapItem{Key: f.Name, Value: f.Value.(value).plain()})
	}
	return yaml.Marshal(m)
}
