package entra

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"drover/internal/proof"
)

// aMicrosoftHost is a host of one of the clouds, or the audience of tokens that
// differs between them.
var aMicrosoftHost = regexp.MustCompile(`(?i)[a-z0-9.-]*(microsoftonline|microsoft\.us|windows\.(net|com|us)|securitycenter|chinacloudapi|sovcloud|apps\.mil|azure\.(com|us|cn)|(graph|security|entra|partnercenter|login)\.microsoft\.)[a-z.]*|api://AzureADTokenExchange[A-Za-z]*`)

// elsewhere lists what is named outside of the table, and why that is right.
var elsewhere = map[string]string{
	"internal/entra/aadsts.go https://login.microsoftonline.com/error": "a page for people that explains numbers of every cloud",
	"cmd/drover/aadsts.go https://login.microsoftonline.com/error":     "the same",
	"internal/config/app.go ":                                         "defaults and examples of the config's keys, which its page shows; TestTheConfigsDefaultsAreTheTables compares them",
	"internal/config/partner.go ":                                     "the same, of a partner",
	"internal/siemconf/splunk.go api-gov.securitycenter.microsoft.us": "a word of a closed list of Splunk's add-on",
	"internal/siemconf/splunk.go api.securitycenter.microsoft.com":    "the same list, in a comment of the file",
	"internal/siemconf/header.go graph.microsoft.com":                 "a comment of a file that is written",
	"internal/siemconf/siemconf.go https://graph.windows.net":         "an example in an error",
}

// TestTheHostsOfTheCloudsStandInOneTable looks at every string in the product's
// code.
func TestTheHostsOfTheCloudsStandInOneTable(t *testing.T) {
	root := filepath.Join("..", "..")
	files, named, used := 0, 0, make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			switch rel {
			case "internal/lab", "internal/oracle", "internal/rig", "internal/tools", "test", ".git", "docs", "examples":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") || rel == "internal/entra/clouds.go" {
			return nil
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			for _, host := range aMicrosoftHost.FindAllString(lit.Value, -1) {
				named++
				ok := false
				for known := range elsewhere {
					at, what, _ := strings.Cut(known, " ")
					if at == rel && (what == "" || strings.Contains(lit.Value, what)) {
						used[known], ok = true, true
					}
				}
				if !ok {
					t.Errorf("%s names %s: it belongs into the table of clouds.go", rel, host)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for known := range elsewhere {
		if !used[known] {
			t.Errorf("%s is not named any more", known)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
	proof.Ran(t, "clouds.table", "%d files of the product: hosts and audiences of %d clouds named outside of the table without a reason 0 (%d with one)", files, len(BuiltIn()), named)
}

// TestEveryCloudSaysWhereItsServicesAre reads the table against what is
// documented (reference entra-oauth §1 and §4).
func TestEveryCloudSaysWhereItsServicesAre(t *testing.T) {
	all := BuiltIn()
	for name, want := range map[string][4]string{
		"worldwide": {"https://login.microsoftonline.com", "api://AzureADTokenExchange", "https://entra.microsoft.com", "https://sts.windows.net"},
		"gcc":       {"https://login.microsoftonline.com", "api://AzureADTokenExchange", "https://entra.microsoft.com", "https://sts.windows.net"},
		"gcc-high":  {"https://login.microsoftonline.us", "api://AzureADTokenExchangeUSGov", "https://entra.microsoft.us", "https://sts.windows.net"},
		"dod":       {"https://login.microsoftonline.us", "api://AzureADTokenExchangeUSGov", "https://entra.microsoft.us", "https://sts.windows.net"},
		"china":     {"https://login.partner.microsoftonline.cn", "api://AzureADTokenExchangeChina", "https://entra.microsoftonline.cn", "https://sts.chinacloudapi.cn"},
	} {
		c := all[name]
		if got := [4]string{c.Authority, c.TokenExchange, c.AdminCenter, c.STS}; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, name := range []string{"bleu", "delos", "govsg"} {
		if c := all[name]; c.TokenExchange != "" || !c.NoAlerts {
			t.Errorf("%s: %+v", name, c)
		}
	}
	own, err := NewClouds(Cloud{Name: "own", Authority: "https://login.example", Graph: "https://graph.example"})
	if c := own["own"]; err != nil || c.TokenExchange != all[DefaultCloud].TokenExchange || c.STS == "" || c.AdminCenter == "" {
		t.Errorf("%+v, %v", c, err)
	}
}
