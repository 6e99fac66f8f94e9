package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of a file of any kind (faults-and-invariants C01).
const (
	maxDepth   = 32
	maxAliases = 100
)

// layout is a kind of file: how it is spoken of, and how large it may be.
type layout struct {
	file   string // a config
	itself string // the config
	keys   string // with which it begins
	usual  string // size
	size   int    // bytes, at most
	nodes  int    // values at most, aliases counted as often as they are used
	homes  map[string][]string
}

// The largest sensible config, a Splunk token for each of 2,000 tenants, has
// 200 kB and 20,000 nodes.
const maxSize, maxNodes = 1 << 20, 100_000

var configLayout = layout{file: "a config", itself: "the config", keys: "ledger: and sinks:", usual: "a few kilobytes", size: maxSize, nodes: maxNodes, homes: homes}

// document reads the one YAML document in data and returns its root mapping,
// nil for an empty file. It bounds what aliases can grow to.
func document(of layout, name string, data []byte) (*yaml.Node, Faults) {
	whole := func(line int, format string, args ...any) Faults {
		return Faults{{name, line, fmt.Sprintf(format, args...)}}
	}
	if len(data) > of.size {
		return nil, whole(0, "the file is larger than %d MiB; %s is %s: is this the right file?", of.size>>20, of.file, of.usual)
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.IndexByte(data, 0) >= 0 {
		return nil, whole(1, "this is not UTF-8 text; save the file as UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if at := badText(data); at >= 0 {
		line := 1 + bytes.Count(data[:at], []byte("\n"))
		if !utf8.FullRune(data[at:]) || data[at] >= utf8.RuneSelf {
			return nil, whole(line, "this is not UTF-8 text; save the file as UTF-8")
		}
		return nil, whole(line, "a control character; take it out")
	}

	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		line, text := syntax(data, err)
		return nil, whole(line, "%s", text)
	}
	if err := dec.Decode(&second); err == nil {
		return nil, whole(second.Line, "a second document begins here; %s is one document: take out the --- line", of.file)
	} else if !errors.Is(err, io.EOF) {
		line, text := syntax(data, err)
		return nil, whole(line, "%s", text)
	}
	m := measure{most: of.nodes, nodes: of.nodes, aliases: maxAliases}
	if n := m.walk(&doc, 0); n != nil {
		return nil, whole(n.Line, "%s", m.why)
	}
	root := doc.Content[0]
	if isNull(root) {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, whole(root.Line, "expected keys such as %s, got %s", of.keys, kindName(root))
	}
	return root, nil
}

// badText returns where data is not UTF-8 or holds a control character, -1 if
// nowhere.
func badText(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f {
			return i
		}
		i += n
	}
	return -1
}

// measure walks a document as if each alias stood for its content.
type measure struct {
	most           int // nodes
	nodes, aliases int // that are left
	why            string
}

// walk returns the node at which a limit was passed, nil if none was.
func (m *measure) walk(n *yaml.Node, depth int) *yaml.Node {
	if m.nodes--; m.nodes < 0 {
		m.why = fmt.Sprintf("the file has more than %d values, aliases counted as often as they are used", m.most)
		return n
	}
	if depth > maxDepth {
		m.why = fmt.Sprintf("nested deeper than %d levels", maxDepth)
		return n
	}
	if n.Kind == yaml.AliasNode {
		if m.aliases--; m.aliases < 0 {
			m.why = fmt.Sprintf("more than %d aliases (*name); write the values out", maxAliases)
			return n
		}
		if bad := m.walk(n.Alias, depth+1); bad != nil {
			return n
		}
	}
	for _, c := range n.Content {
		if bad := m.walk(c, depth+1); bad != nil {
			return bad
		}
	}
	return nil
}

var parserLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// plainWords says in plain words what the YAML parser complains about. Its own
// words may quote the file and are not shown: a quoted part may be a secret.
var plainWords = []struct{ part, text string }{
	{"cannot start any token", "a value cannot begin with this character; put the value in quotes"},
	{"could not find expected ':'", `expected "key: value" on this line`},
	{"mapping values are not allowed", "a second colon on one line, or wrong indentation; put a value that holds a colon in quotes"},
	{"did not find expected key", "wrong indentation, or a quote that is not closed"},
	{"did not find expected '-'", "wrong indentation in a list"},
	{"did not find expected ','", "a [ or { that is not closed, or a comma that is missing"},
	{"node content", "expected a value here; put a value that begins with a special character in quotes"},
	{"unexpected end of stream", "a quote that is not closed"},
	{"unexpected document indicator", "a quote that is not closed"},
	{"exceeded max depth", fmt.Sprintf("nested deeper than %d levels", maxDepth)},
	{"control characters", "a character that YAML does not allow; take it out"},
	{"escape", `an unknown escape in a text with double quotes; use single quotes, or \\ for a backslash`},
	{"block sequence entries", `a list cannot begin here; put "- " on its own line`},
	{"anchor", "an anchor (&name) or alias (*name) that cannot be read; put a value that begins with & or * in quotes"},
	{"tag", "a tag (!name) that cannot be read; put a value that begins with ! in quotes"},
}

var (
	unknownAnchor = regexp.MustCompile(`unknown anchor '([^']+)' referenced`)
	bareTemplate  = regexp.MustCompile(`:[ \t]+\{[a-z_]+\}[^\s,}\]]`)
)

// syntax renders an error of the YAML parser. The parser names no line for the
// first one, and for an error inside a section the line on which that begins,
// so the common slips are looked for in the text.
func syntax(data []byte, err error) (line int, text string) {
	m := parserLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, "this is not YAML"
	}
	line, _ = strconv.Atoi(m[1])
	line = max(line, 1)
	for i, l := range strings.Split(string(data), "\n") {
		switch anchor := unknownAnchor.FindStringSubmatch(m[2]); {
		case i+1 >= line-1 && strings.Contains(l[:len(l)-len(strings.TrimLeft(l, " \t"))], "\t"):
			return i + 1, "a tab cannot indent YAML; use spaces"
		case i+1 >= line && bareTemplate.MatchString(l):
			return i + 1, "put a value that begins with { in quotes"
		case anchor != nil && strings.Contains(l, "*"+anchor[1]):
			return i + 1, "a value that begins with * names an anchor that does not exist; put the value in quotes"
		}
	}
	for _, w := range plainWords {
		if strings.Contains(m[2], w.part) {
			return line, w.text
		}
	}
	return line, "this is not YAML; look at indentation, colons and quotes"
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
