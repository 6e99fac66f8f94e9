package siemconf

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// The readers here are written from the forms' own rules and share nothing with
// the writers.

// readProperties reads what java.util.Properties.load reads, by the text of its
// documentation: logical lines, comments, what ends a key, escapes.
func readProperties(text string) (map[string]string, []string, error) {
	got, order := map[string]string{}, []string(nil)
	for len(text) > 0 {
		text = strings.TrimLeft(text, " \t\f\r\n")
		if text == "" {
			break
		}
		if text[0] == '#' || text[0] == '!' {
			end := strings.IndexAny(text, "\r\n")
			if end < 0 {
				break
			}
			text = text[end:]
			continue
		}
		// One logical line, joined where an odd number of backslashes ends a
		// natural one.
		var logical strings.Builder
		for {
			end := strings.IndexAny(text, "\r\n")
			line, rest := text, ""
			if end >= 0 {
				line, rest = text[:end], text[end+1:]
				if text[end] == '\r' && strings.HasPrefix(rest, "\n") {
					rest = rest[1:]
				}
			}
			slashes := len(line) - len(strings.TrimRight(line, `\`))
			text = rest
			if slashes%2 == 0 || end < 0 {
				logical.WriteString(line)
				break
			}
			logical.WriteString(line[:len(line)-1])
			text = strings.TrimLeft(text, " \t\f")
		}
		line := logical.String()
		end, escaped := len(line), false
		for i := range len(line) {
			if escaped {
				escaped = false
				continue
			}
			if line[i] == '\\' {
				escaped = true
				continue
			}
			if strings.IndexByte("=: \t\f", line[i]) >= 0 {
				end = i
				break
			}
		}
		key, value := line[:end], strings.TrimLeft(line[end:], " \t\f")
		if value != "" && (value[0] == '=' || value[0] == ':') {
			value = strings.TrimLeft(value[1:], " \t\f")
		}
		k, err := unescape(key)
		if err != nil {
			return nil, nil, err
		}
		v, err := unescape(value)
		if err != nil {
			return nil, nil, err
		}
		if _, twice := got[k]; twice {
			return nil, nil, fmt.Errorf("%s stands there twice", k)
		}
		got[k], order = v, append(order, k)
	}
	return got, order, nil
}

// unescape undoes escapes. The bytes of a file are Latin-1.
func unescape(s string) (string, error) {
	var units []uint16
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			units = append(units, uint16(s[i]))
			continue
		}
		if i++; i == len(s) {
			break // a single one at the end is dropped
		}
		switch s[i] {
		case 't':
			units = append(units, '\t')
		case 'n':
			units = append(units, '\n')
		case 'r':
			units = append(units, '\r')
		case 'f':
			units = append(units, '\f')
		case 'u':
			if i+4 >= len(s) {
				return "", fmt.Errorf("a cut \\u")
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", err
			}
			units, i = append(units, uint16(n)), i+4
		default:
			units = append(units, uint16(s[i]))
		}
	}
	return string(utf16.Decode(units)), nil
}

// readConf reads a .conf file of Splunk: comments are lines that begin with #, a
// backslash at the end joins lines, a setting is cut at the first equals sign,
// blanks around both sides are lost.
func readConf(text string) (map[string]map[string]string, []string, error) {
	stanza, got, order := "", map[string]map[string]string{}, []string(nil)
	scan := bufio.NewScanner(strings.NewReader(text))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		line := scan.Text()
		for strings.HasSuffix(line, `\`) {
			if !scan.Scan() {
				return nil, nil, fmt.Errorf("a joined line at the end")
			}
			line = strings.TrimSuffix(line, `\`) + "\n" + scan.Text()
		}
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == '[':
			name, ok := strings.CutSuffix(line[1:], "]")
			if !ok || got[name] != nil {
				return nil, nil, fmt.Errorf("bad stanza %q", line)
			}
			stanza, order, got[name] = name, append(order, name), map[string]string{}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, nil, fmt.Errorf("no setting: %q", line)
		}
		if got[stanza] == nil {
			got[stanza] = map[string]string{}
		}
		key = strings.TrimSpace(key)
		if _, twice := got[stanza][key]; twice {
			return nil, nil, fmt.Errorf("%s stands there twice", key)
		}
		got[stanza][key] = strings.TrimSpace(value)
	}
	return got, order, scan.Err()
}

// The readers are held against examples with known answers: the Properties
// documentation's own and Splunk's.
func TestTheReadersReadWhatTheFormsSay(t *testing.T) {
	text := "Truth = Beauty\n  Truth2:Beauty\nTruth3\t\t\t:Beauty\n" +
		"fruits        apple, banana, pear, \\\n                  cantaloupe, watermelon, \\\r\n   kiwi, mango\n" +
		"cheeses\n! note = x\n# note \\\nback\\\\slash=a\\\\\nk\\ e\\:y=\\ v\\u00e9\\uD83D\\uDE00\n\nlast=\\z"
	got, order, err := readProperties(text)
	want := map[string]string{"Truth": "Beauty", "Truth2": "Beauty", "Truth3": "Beauty", "fruits": "apple, banana, pear, cantaloupe, watermelon, kiwi, mango",
		"cheeses": "", `back\slash`: `a\`, "k e:y": " vé😀", "last": "z"}
	if err != nil || len(got) != len(want) || len(order) != len(want) {
		t.Fatalf("%d of %d: %v, %v", len(got), len(want), got, err)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%q: %q, want %q", k, got[k], v)
		}
	}
	c, names, err := readConf("a=1\n# x = y\n[rest://one two]\nb = 2 = 3 # 4\n c=\n[z]\nd = x\\\n y\n")
	if err != nil || len(names) != 2 || c[""]["a"] != "1" || c["rest://one two"]["b"] != "2 = 3 # 4" || c["z"]["d"] != "x\n y" {
		t.Errorf("%v %v %v", c, names, err)
	}
}
