package format

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed searches/manifest.*
var searches embed.FS

// Languages are those in which manifests can be checked where the records are.
var Languages = []string{"spl", "kql", "esql", "shell"}

// SearchAt says where a search looks.
type SearchAt struct {
	Root       string // directory of files, for shell; "" is the working directory
	Index      string // Splunk's, "" for all that is searched by default
	Sourcetype string // Splunk's
}

// ManifestSearch returns the search that checks manifests, in one of Languages.
func ManifestSearch(language string, at SearchAt) (string, error) {
	name, fill := "manifest."+language, (*strings.Replacer)(nil)
	switch language {
	case "shell":
		if at.Root == "" {
			at.Root = "."
		}
		name, fill = "manifest.sh", strings.NewReplacer("{{root}}", "'"+strings.ReplaceAll(at.Root, "'", `'\''`)+"'")
	case "spl":
		var where []string
		for _, t := range [][2]string{{"index", at.Index}, {"sourcetype", at.Sourcetype}} {
			if t[1] != "" {
				where = append(where, t[0]+`="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(t[1])+`"`)
			}
		}
		if len(where) == 0 {
			where = []string{"search *"}
		}
		fill = strings.NewReplacer("{{where}}", strings.Join(where, " "))
	case "kql":
		fill = strings.NewReplacer("{{where}}", "Drover_CL", "{{table}}", "Drover_CL")
	case "esql":
		fill = strings.NewReplacer("{{where}}", "FROM drover-*")
	default:
		return "", fmt.Errorf("there is no language %q; known are: %s", language, strings.Join(Languages, ", "))
	}
	text, err := searches.ReadFile("searches/" + name)
	if err != nil {
		return "", err
	}
	return fill.Replace(string(text)), nil
}
