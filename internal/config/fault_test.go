package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drover/internal/proof"
)

// faultCases is every way in which a file can be wrong, and what is said then.
// The text begins on line 1.
var faultCases = map[string]struct{ text, want string }{
	// Keys.
	"a misspelt key":                   {"collect:\n  intervall: 1m", `2: unknown key "intervall"; did you mean "interval"?`},
	"a misspelt section":               {"colect: {}", `1: unknown key "colect"; did you mean "collect"?`},
	"swapped letters":                  {"leger: {}\nlitsen: {}", "1: unknown key \"leger\"; did you mean \"ledger\"?\n2: unknown key \"litsen\"; did you mean \"listen\"?"},
	"manifests without event IDs":      {"sinks: {a: {type: stdout, format: raw, manifests: true}}", `1: manifests need format: json; a raw record does not say which alert it is`},
	"camel case":                       {"sinks: {a: {type: stdout, batch: {maxRecords: 5}}}", `1: unknown key "maxRecords"; did you mean "max_records"?`},
	"dashes":                           {"ledger: {hold-share: 5%}", `1: unknown key "hold-share"; did you mean "hold_share"?`},
	"the beginning of a key":           {"collect: {conc: 5}", `1: unknown key "conc"; did you mean "concurrency"?`},
	"a key like no other":              {"log: {colour: red}", `1: unknown key "colour"; known in log are: level, format`},
	"a key that belongs elsewhere":     {"ledger:\n  interval: 1m", `2: the key "interval" does not belong to ledger; it stands under collect`},
	"a key that is not indented":       {"collect:\ninterval: 1m", `2: the key "interval" does not belong to the config; it stands under collect`},
	"a section inside another":         {"ledger:\n  vault: {}", `2: the key "vault" does not belong to ledger; it stands at the top, without indentation`},
	"a key of another type of sink":    {"sinks: {a: {type: file, root: x, url: 'https://x'}}", `1: "url" is a key of sinks of type splunk_hec, not of type file`},
	"a misspelt key of a type":         {"sinks: {a: {type: file, root: x, rotat: {}}}", `1: unknown key "rotat"; did you mean "rotate"?`},
	"a duplicate key":                  {"collect:\n  interval: 1m\n  overlap: 5m\n  interval: 2m", `4: duplicate key "interval"; the first is on line 2`},
	"a duplicate section":              {"log: {level: info}\nledger: {}\nlog: {level: warn}", `3: duplicate key "log"; the first is on line 1`},
	"a duplicate sink":                 {"sinks:\n  a: {type: stdout}\n  a: {type: stdout}", `3: duplicate key "a"; the first is on line 2`},
	"a tenant twice, in other letters": {"sinks:\n  a:\n    type: splunk_hec\n    url: https://x\n    token: {file: t}\n    tenants:\n      aaaaaaaa-0000-4000-8000-00000000000b: {index: x}\n      AAAAAAAA-0000-4000-8000-00000000000B: {index: y}", `8: duplicate key "aaaaaaaa-0000-4000-8000-00000000000b"; the first, in other letters, is on line 7`},
	"a merge key":                      {"log: &l {level: info}\nlisten:\n  <<: *l", `3: merge keys (<<) are not supported; write the keys out`},
	"a key that is no text":            {"sinks:\n  365: {type: stdout}", `2: the key 365 is not text in YAML; put it in quotes: "365"`},
	"a key that some read as false":    {"sinks:\n  no: {type: stdout}", `2: the key no is not text in YAML; put it in quotes: "no"`},
	"a key that is a list":             {"? [a, b]\n: c", `1: a key must be a single word`},
	"an address that is none":          {"egress: [203.0.113.7, gateway.example, 203.0.113.0/33]", "1: egress: \"gateway.example\" is neither an address nor a network; write 203.0.113.7 or 203.0.113.0/28\n1: egress: \"203.0.113.0/33\" is neither an address nor a network; write 203.0.113.7 or 203.0.113.0/28"},
	"all faults are listed":            {"log: {level: loud}\ncollect:\n  interval: 0s\n  overlap: x\nsinks:\n  a: {}\nnext: 1", "1: level: \"loud\" is not known; known are: debug, info, warn, error\n3: interval: 0s is out of bounds; write a value from 1s to 1h\n4: overlap: \"x\" is not a length of time; write whole numbers with a unit such as 60s, 15m, 2h or 7d\n6: a needs the key type\n7: unknown key \"next\"; known in the config are: version, ledger, vault, apps, partner, clouds, egress, proxy, ca, collect, sinks, routes, listen, mssp, log"},

	// The document.
	"two documents":            {"log: {level: info}\n---\nlog: {level: warn}", `2: a second document begins here; a config is one document: take out the --- line`},
	"a tab":                    {"collect:\n\tinterval: 1m", `2: a tab cannot indent YAML; use spaces`},
	"a quote left open":        {"ledger: {dir: \"/srv}\nlog: {level: info}", `2: a quote that is not closed`},
	"a brace left open":        {"ledger: {dir: /srv\nlog: {level: info}", `1: a [ or { that is not closed, or a comma that is missing`},
	"an unquoted template":     {"sinks:\n  a:\n    type: file\n    root: x\n    path: {customer}/{tenant}", `5: put a value that begins with { in quotes`},
	"a colon in a value":       {"ledger:\n  dir: c: d", `2: a second colon on one line, or wrong indentation; put a value that holds a colon in quotes`},
	"no colon":                 {"ledger", `1: expected keys such as ledger: and sinks:, got a single value`},
	"a list":                   {"- a", `1: expected keys such as ledger: and sinks:, got a list`},
	"a percent sign first":     {"ledger: {hold_share: %20}", `1: a value cannot begin with this character; put the value in quotes`},
	"an alias to nothing":      {"ledger: {dir: *secret}", `1: a value that begins with * names an anchor that does not exist; put the value in quotes`},
	"an alias bomb":            {bomb(), "4: more than 100 aliases (*name); write the values out"},
	"many aliases":             {"log: {level: &a info}\nroutes: [" + strings.Repeat("*a, ", 101) + "]", "2: more than 100 aliases (*name); write the values out"},
	"a large anchor, often":    {"log: {level: &a [" + strings.Repeat("x, ", 2000) + "]}\nroutes: [" + strings.Repeat("*a, ", 60) + "]", "2: the file has more than 100000 values, aliases counted as often as they are used"},
	"an indented list bullet":  {"ledger: - a", "1: a list cannot begin here; put \"- \" on its own line"},
	"an alias to itself":       {"routes: &r [*r]", "1: nested deeper than 32 levels"},
	"nested deeply":            {"routes: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), "1: nested deeper than 32 levels"},
	"nested beyond the parser": {"routes: " + strings.Repeat("[", 20000), "1: nested deeper than 32 levels"},
	"UTF-16":                   {"\xff\xfel\x00o\x00g\x00", "1: this is not UTF-8 text; save the file as UTF-8"},
	"Latin-1":                  {"ledger: {dir: /srv/\xe4}", "1: this is not UTF-8 text; save the file as UTF-8"},
	"a control character":      {"log: {level: \x07}", "1: a control character; take it out"},

	// Kinds of values.
	"no as text":             {"ledger: {region: no}", `1: region: no is not text in YAML; put it in quotes: "no"`},
	"off as text":            {"ledger: {dir: off}", `1: dir: off is not text in YAML; put it in quotes: "off"`},
	"a number as text":       {"sinks: {a: {type: splunk_hec, url: 'https://x', token: {file: t}, index: 0o17}}", `1: index: 0o17 is not text in YAML; put it in quotes: "0o17"`},
	"a date as text":         {"ledger: {region: 2026-01-01}", `1: region: 2026-01-01 is not text in YAML; put it in quotes: "2026-01-01"`},
	"yes for true":           {"ledger: {allow_network_fs: yes}", `1: allow_network_fs: write true or false, not yes`},
	"an octal number":        {"collect: {concurrency: 0o17}", `1: concurrency: "0o17" is not a whole number in decimal digits`},
	"an old octal number":    {"collect: {concurrency: 017}", `1: concurrency: "017" is not a whole number in decimal digits`},
	"a number with exponent": {"collect: {concurrency: 1e3}", `1: concurrency: "1e3" is not a whole number in decimal digits`},
	"a negative number":      {"collect: {concurrency: -1}", `1: concurrency: "-1" is not a whole number in decimal digits`},
	"a key without a value":  {"collect:\n  interval:\n  overlap: 5m", `2: interval has no value; give it one or leave the key out`},
	"an empty text":          {`ledger: {dir: ""}`, `1: dir is empty; give it a value or leave the key out`},
	"a list for a value":     {"ledger: {dir: [a]}", `1: dir: expected a single value, got a list; put a value that begins with { or [ in quotes`},
	"a value for a list":     {"routes: [{sinks: a}]\nsinks: {a: {type: stdout}}", "1: sinks: expected a list such as [a, b], got a single value\n1: a route needs sinks: [...], or drop: true to send alerts nowhere on purpose"},
	"a value for a section":  {"collect: 60s", `1: collect: expected keys (interval, overlap, concurrency, page_size, share, sweeps, start), got a single value`},
	"a list for names":       {"sinks: [a, b]", `1: sinks: expected names with keys below each, got a list`},

	// Bounds (C08).
	"an interval of nothing":    {"collect: {interval: 0s}", `1: interval: 0s is out of bounds; write a value from 1s to 1h`},
	"a negative interval":       {"collect: {interval: -5m}", `1: interval: "-5m" is not a length of time; write whole numbers with a unit such as 60s, 15m, 2h or 7d`},
	"an interval of ages":       {"collect: {interval: 1000000000h}", `1: interval: "1000000000h" is longer than 292 years`},
	"a long interval":           {"collect: {interval: 2h}", `1: interval: 2h is out of bounds; write a value from 1s to 1h`},
	"a time without a unit":     {"collect: {interval: 60}", `1: interval: "60" is a time without a unit; write 60s, 60m, 60h or 60d`},
	"an overlap past retention": {"collect: {overlap: 200d}", `1: overlap: 200d is out of bounds; write a value from 1s to 7d`},
	"a start past retention":    {"collect: {start: 200d}", `1: Microsoft keeps alerts for 180 days; write an age of at most 180d`},
	"a start that is none":      {"collect: {start: yesterday}", `1: start: "yesterday" is no starting point; write now, an instant such as 2026-03-02T08:00:00Z, or an age such as 24h or 30d`},
	"a batch of nothing":        {"sinks: {a: {type: stdout, batch: {max_records: 0}}}", `1: max_records: 0 is out of bounds; write a value from 1 to 100000`},
	"a size without a unit":     {"ledger: {limit: 1000000}", `1: limit: "1000000" is a size without a unit; write 1000000B, or a unit such as kB, MB, MiB or GiB`},
	"a small ledger":            {"ledger: {limit: 1MiB}", `1: limit: 1MiB is too small; write 64MiB or more`},
	"a size beyond any disk":    {"ledger: {limit: 999999999999999TiB}", `1: limit: "999999999999999TiB" is larger than any disk`},
	"a size in a strange unit":  {"ledger: {limit: 5XiB}", `1: limit: "5XiB" is not a size; write a whole number with a unit such as 500kB, 1MB, 64MiB or 2GiB`},
	"a share of more than all":  {"collect: {share: 150%}", `1: share: 150% is out of bounds; write a value from 1% to 100%`},
	"a share without percent":   {"collect: {share: 0.5}", `1: share: "0.5" is not a share; write a whole number of percent such as 20%`},
	"a hold past the bodies":    {"ledger:\n  bodies: 10d\n  hold: 20d", `3: a sink cannot hold back alerts for longer than their bodies are kept; write hold of at most the 10d of bodies, or keep bodies longer`},
	"a sweep with holes":        {"collect:\n  sweeps:\n    - {depth: 1h, every: 2h}", `3: a sweep must come round before what it covers has passed; write every of at most the 1h0m0s of depth`},
	"a sweep without depth":     {"collect:\n  sweeps:\n    - {every: 2h}", `3: entry 1 of sweeps needs the key depth`},
	"a page that is too large":  {"collect: {page_size: 5000}", `1: page_size: 5000 is out of bounds; write a value from 1 to 1000`},
	"a config of the future":    {"version: 2", `1: this file has version 2 and this drover knows version 1; install the drover that it was written for`},

	// Secrets (C03).
	"a client secret":                  {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    client_secret: hunter2", `4: unknown key "client_secret": a secret is named by where it is kept; write secret: {file: /path/of/the/file}`},
	"a secret in place":                {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    secret: hunter2", `4: a secret cannot stand in the config; put it into a file that only drover can read and write secret: {file: /path/of/the/file}`},
	"a secret as a key":                {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    secret: {hunter2}", "4: secret: a secret is named by exactly one of file, env, credential; what stands here is none of them\n4: a secret is kept in exactly one place; write one of file, env and credential"},
	"a secret as two keys":             {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    secret: {hunter2, hunter2, file: x}", "4: a key stands here for the second time; the first is on line 4\n4: secret: a secret is named by exactly one of file, env, credential; what stands here is none of them"},
	"a secret in a list":               {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    secret: [hunter2]", `4: a secret cannot stand in the config; put it into a file that only drover can read and write secret: {file: /path/of/the/file}`},
	"a secret that looks an alias":     {"apps: {default: {secret: *hunter2}}", `1: a value that begins with * names an anchor that does not exist; put the value in quotes`},
	"a token in place":                 {"sinks: {a: {type: splunk_hec, url: 'https://x', token: hunter2}}", `1: a secret cannot stand in the config; put it into a file that only drover can read and write token: {file: /path/of/the/file}`},
	"a token file in one key":          {"sinks: {a: {type: splunk_hec, url: 'https://x', token_file: /x}}", "1: unknown key \"token_file\": a secret is named by where it is kept; write token: {file: /path/of/the/file}\n1: a needs the key token"},
	"a tenant's token in place":        {"sinks: {a: {type: splunk_hec, url: 'https://x', token: {file: t}, tenants: {contoso: {token: hunter2}}}}", `1: a secret cannot stand in the config; put it into a file that only drover can read and write token: {file: /path/of/the/file}`},
	"a master key in place":            {"vault: {master_key: hunter2}", `1: unknown key "master_key": a secret is named by where it is kept; write key_file: /path/of/the/file`},
	"two places of a secret":           {"sinks: {a: {type: splunk_hec, url: 'https://x', token: {file: x, env: TOKEN}}}", `1: a secret is kept in exactly one place; write one of file, env and credential`},
	"two places of the master key":     {"vault:\n  key_file: /x\n  key_env: KEY", `1: vault names the master key more than once; keep one of key_file, key_env, key_credential, key_keyring and key_vault`},
	"a key vault beside a key file":    {"vault:\n  key_file: /x\n  key_vault: {url: 'https://x.vault.azure.net', key: k}", `1: vault names the master key more than once; keep one of key_file, key_env, key_credential, key_keyring and key_vault`},
	"a key vault without a key":        {"vault: {key_vault: {url: 'https://x.vault.azure.net'}}", `1: key_vault needs the key key`},
	"a key vault over plain http":      {"vault: {key_vault: {url: 'http://x.vault.azure.net', key: k}}", `1: url: expected an https URL such as https://splunk.example:8088, without user, password or query`},
	"a key vault's half sign-in":       {"vault:\n  key_vault:\n    url: https://x.vault.azure.net\n    key: k\n    sign_in: certificate", `5: sign_in: certificate needs certificate, client_id and tenant`},
	"a key vault's idle certificate":   {"vault:\n  key_vault:\n    url: https://x.vault.azure.net\n    key: k\n    certificate: {file: a, key_file: b}", `5: a certificate is used by sign_in: certificate only; write that, or leave the certificate out`},
	"a key vault's sealed certificate": {"vault:\n  key_vault:\n    url: https://x.vault.azure.net\n    key: k\n    sign_in: certificate\n    client_id: 22222222-2222-4222-8222-222222222222\n    tenant: 22222222-2222-4222-8222-222222222223\n    certificate: {sealed: true}", `8: a certificate that opens the master key cannot be sealed by it; name file and key_file`},
	"a key vault of no cloud":          {"vault:\n  key_vault:\n    url: https://x.vault.azure.net\n    key: k\n    cloud: worldwid", `5: there is no cloud named "worldwid"; did you mean "worldwide"?`},
	"a wrapped key in the ledger":      {"ledger: {dir: /l}\nvault:\n  key_vault:\n    url: https://x.vault.azure.net\n    key: k\n    file: /l/k", `6: the wrapped master key must not lie in the ledger's directory /l: a copy of the one would bring the other along, and who loses the one loses both; name a file elsewhere`},
	"a secret for a key vault":         {"vault:\n  key_vault: {url: 'https://x.vault.azure.net', key: k, secret: hunter2}", `2: the key "secret" does not belong to key_vault; it stands under apps.<name> or under partner`},
	"a credential that is a path":      {"sinks: {a: {type: splunk_hec, url: 'https://x', token: {credential: ../x}}}", `1: a credential is a name as in LoadCredential=, not a path`},
	"a password in a URL":              {"sinks: {a: {type: splunk_hec, url: 'https://u:hunter2@x', token: {file: x}}}", `1: url: expected an https URL such as https://splunk.example:8088, without user, password or query`},
	"a password in a proxy":            {"proxy: {microsoft: 'http://u:hunter2@proxy:3128'}", `1: microsoft: expected none, environment, or a URL such as http://proxy.example:3128, without user and password`},
	"secret and certificate":           {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    secret: {file: x}\n    certificate: {file: x, key_file: z}", `4: an app proves itself in one way; keep one of secret, certificate, federated and managed_identity`},
	"a secret's end that is no day":    {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    secret: {file: x}\n    secret_until: 31.12.2027", `5: secret_until: "31.12.2027" is no day; write it as 2027-03-31`},
	"an end of no secret":              {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    certificate: {file: x, key_file: z}\n    secret_until: 2027-12-31", `5: there is no secret that could end then; a certificate says itself when it ends`},
	"a next secret without one":        {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    next_secret: {file: x}", `4: there is no secret before it; write it as secret`},
	"federated and identity":           {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    federated: {token_file: x}\n    managed_identity: {client_id: 22222222-2222-4222-8222-222222222223}", `4: an app proves itself in one way; keep one of secret, certificate, federated and managed_identity`},
	"federated without a file":         {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    federated: {audience: x}", `4: federated needs the key token_file`},
	"a certificate in two places":      {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    certificate: {sealed: true, file: x, key_file: z}", `4: a certificate is sealed in the ledger, or it is in files; write sealed: true alone, or file and key_file`},
	"a certificate without its key":    {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    certificate: {file: x}", `4: write sealed: true for a certificate that drover app create has sealed in the ledger, or both file and key_file`},
	"a certificate that is nowhere":    {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    certificate: {sealed: false}", `4: write sealed: true for a certificate that drover app create has sealed in the ledger, or both file and key_file`},

	// Names and references.
	"an unknown type of sink":               {"sinks:\n  a:\n    type: splunk\n    url: https://x", `3: type: "splunk" is not known; did you mean "splunk_hec"?`},
	"a sink without a type":                 {"sinks:\n  a:\n    url: https://x", `2: a needs the key type`},
	"a sink without anything":               {"sinks:\n  a:", `2: a needs the key type`},
	"a sink without its root":               {"sinks:\n  a: {type: file}", `2: a needs the key root`},
	"alert text in a path":                  {"sinks:\n  a: {type: file, root: x, path: '{customer}/{title}.ndjson'}", `2: {title} cannot stand in a path; known are: customer, tenant, name, source, sink`},
	"a path that climbs":                    {"sinks:\n  a: {type: file, root: x, path: '../{tenant}'}", `2: "../{tenant}" is no path below root; write names and slashes, no part of which begins with a dot, such as {customer}/{tenant}.ndjson`},
	"an absolute path":                      {"sinks:\n  a: {type: file, root: x, path: '/{tenant}'}", `2: "/{tenant}" is no path below root; write names and slashes, no part of which begins with a dot, such as {customer}/{tenant}.ndjson`},
	"a path's brace left open":              {"sinks:\n  a: {type: file, root: x, path: '{tenant'}", `2: "{tenant" is no path below root; write names and slashes, no part of which begins with a dot, such as {customer}/{tenant}.ndjson`},
	"an invitation page of nobody":          {"listen:\n  invitations: {url: https://mssp.example/SiemMsspConnector}", `2: the page tells customers who asks: say so under mssp: name:`},
	"an invitation page in the clear":       {"mssp: {name: X}\nlisten:\n  invitations:\n    url: https://mssp.example/SiemMsspConnector\n    address: 0.0.0.0:80", `5: without certificate and key plain HTTP is spoken, on loopback only; name both, or put a reverse proxy on this machine before 127.0.0.1:9465`},
	"an invitation page without a path":     {"mssp: {name: X}\nlisten:\n  invitations:\n    url: https://mssp.example", `4: the address needs a path, such as https://mssp.example/SiemMsspConnector`},
	"an invitation page without its key":    {"mssp: {name: X}\nlisten:\n  invitations: {url: https://mssp.example/S, certificate: c.pem}", `3: certificate and key belong together`},
	"an invitation page without an address": {"listen:\n  invitations: {certificate: c.pem, key: k.pem}", `2: say at which address customers find the page: url: https://<your domain>/SiemMsspConnector`},
	"two sinks below one root":              {"sinks:\n  a: {type: file, root: x}\n  b: {type: file, root: ./x/}", `3: the sink a writes there too; give each sink of type file a root of its own`},
	"an ID with capitals":                   {"sinks:\n  Archive: {type: stdout}", `2: sinks: "Archive" cannot be a name here: use 1 to 63 of a-z, 0-9 and '-', not at the ends`},
	"an ID that climbs":                     {"sinks:\n  ../x: {type: stdout}", `2: sinks: "../x" cannot be a name here: use 1 to 63 of a-z, 0-9 and '-', not at the ends`},
	"an app's unknown cloud":                {"apps:\n  default:\n    client_id: 22222222-2222-4222-8222-222222222222\n    cloud: gcchigh", `4: there is no cloud named "gcchigh"; did you mean "gcc-high"?`},
	"an app without its ID":                 {"apps:\n  default: {}", `2: default needs the key client_id`},
	"an app with the partner's name":        {"apps:\n  partner:\n    client_id: 22222222-2222-4222-8222-222222222222", `2: no app can be named partner: a tenant whose app that is, is read with the partner's own account; choose another name, here and for its tenants`},
	"a client ID that is none":              {"apps: {default: {client_id: my-app}}", `1: client_id: "my-app" is not an ID of the form 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60 (Entra admin center > App registrations)`},
	"a built-in cloud's name":               {"clouds:\n  worldwide: {authority: https://evil.example, graph: https://evil.example}", `2: a cloud cannot be named worldwide: that is a built-in one; built in are bleu, china, delos, dod, gcc, gcc-high, govsg, worldwide`},
	"a cloud without TLS":                   {"clouds: {lab: {authority: http://a, graph: https://g}}", `1: authority: expected an https URL such as https://splunk.example:8088, without user, password or query`},
	"a route to an unknown sink":            {"sinks: {archive: {type: stdout}}\nroutes:\n  - sinks:\n      - archve", `4: there is no sink named "archve"; did you mean "archive"?`},
	"a route that is never taken":           {"sinks: {a: {type: stdout}}\nroutes:\n  - sinks: [a]\n  - {tenants: [contoso], drop: true}", `4: this route is never reached: entry 1 matches every tenant`},
	"routes without a last one":             {"sinks: {a: {type: stdout}}\nroutes:\n  - {tenants: [contoso], sinks: [a]}", `2: alerts of a tenant that no route matches would go nowhere unnoticed; add a last route without tenants, customers and sources: sinks: [...], or drop: true`},
	"a route to nowhere":                    {"routes:\n  - tenants: [contoso]\n  - drop: true", `2: a route needs sinks: [...], or drop: true to send alerts nowhere on purpose`},
	"a route to both":                       {"sinks: {a: {type: stdout}}\nroutes:\n  - {sinks: [a], drop: true}", `3: a route has sinks or drop: true, not both`},
	"a route by source that comes too late": {"sinks: {a: {type: stdout}}\nroutes:\n  - sinks: [a]\n  - {sources: [siem.detections], sinks: [a]}", `4: a route with sources stands before entry 1, which matches every tenant`},
	"a last route by source":                {"sinks: {a: {type: stdout}}\nroutes:\n  - {sources: [graph.alerts], sinks: [a]}", `2: alerts of a tenant that no route matches would go nowhere unnoticed; add a last route without tenants, customers and sources: sinks: [...], or drop: true`},
	"a route of no source":                  {"routes:\n  - {sources: [], drop: true}", `2: sources is an empty list, which matches nothing; leave the key out to match incidents and each tenant's primary source of alerts`},
	"a route by a misspelt source":          {"routes:\n  - {sources: [graph.alert], drop: true}\n  - drop: true", `2: sources: "graph.alert" is not known; did you mean "graph.alerts"?`},
	"a route of nobody":                     {"routes:\n  - {tenants: [], drop: true}", `2: tenants is an empty list, which matches nobody; leave the key out to match everybody`},
	"no routes in the list":                 {"routes: []", `1: routes is an empty list; leave the key out to send everything to every sink`},
	"a home directory":                      {"ledger: {dir: ~/drover}", `1: dir: "~/drover": ~ is not expanded; write the whole path`},
	"an address without a port":             {"listen: {health: localhost}", `1: health: "localhost" is not an address; write 127.0.0.1:9464, or none`},
	"a port beyond all":                     {"listen: {health: '127.0.0.1:70000'}", `1: health: "127.0.0.1:70000" is not an address; write 127.0.0.1:9464, or none`},
	"an unknown level":                      {"log: {level: warning}", `1: level: "warning" is not known; did you mean "warn"?`},
	"a line end in a header":                {"sinks: {a: {type: splunk_hec, url: 'https://x', token: {file: x}, host: \"a\\nb\"}}", `1: host: "a\nb" begins or ends with a blank, or holds a control character`},
}

// bomb is nine levels of nine aliases: 3 kB that would grow to a gigabyte.
func bomb() string {
	var b strings.Builder
	b.WriteString("a: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c <= 'k'; c++ {
		fmt.Fprintf(&b, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	return b.String()
}

// proofsOf are the faults of a config that the cases show, with the word that
// the cases of each hold.
var proofsOf = []struct {
	id    string
	about func(name, text string) bool
}{
	{"C01", func(string, string) bool { return true }},
	{"C02", func(_, want string) bool {
		return strings.Contains(want, "unknown key") || strings.Contains(want, "does not belong") || strings.Contains(want, "is a key of")
	}},
	{"C06", func(_, want string) bool { return strings.Contains(want, "duplicate key") }},
	{"C07", func(name, _ string) bool { return strings.Contains(name, "route") }},
	{"C08", func(_, want string) bool {
		return strings.Contains(want, "out of bounds") || strings.Contains(want, "too small") || strings.Contains(want, "; write")
	}},
}

func TestEveryFaultIsNamedWithItsLine(t *testing.T) {
	accepted := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(faultCases)) {
		tt := faultCases[name]
		t.Run(name, func(t *testing.T) {
			_, err := Parse("drover.yaml", []byte(tt.text))
			if err == nil {
				accepted[name] = true
				t.Fatal("accepted")
			}
			want := "drover.yaml:" + strings.ReplaceAll(tt.want, "\n", "\ndrover.yaml:")
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows a secret")
			}
		})
	}
	for _, p := range proofsOf {
		n, wrongly := 0, 0
		for name, tt := range faultCases {
			if p.about(name, tt.want) {
				n++
				if accepted[name] {
					wrongly++
				}
			}
		}
		if n < 3 {
			t.Errorf("%s is shown by %d cases only", p.id, n)
		}
		proof.Ran(t, p.id, "%d files, each refused with the exact words and line; accepted %d", n, wrongly)
	}
}

func TestManyFaultsAreCut(t *testing.T) {
	_, err := Parse("x", []byte(strings.Repeat("- a\n", 3)+"b"))
	if err == nil {
		t.Fatal("accepted")
	}
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	_, err = Parse("x", []byte(b.String()))
	if n := len(IsFaults(err)); n != 200 {
		t.Errorf("%d faults found of 200", n)
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != maxFaults+1 || lines[maxFaults] != "x: and 150 more" {
		t.Errorf("%d lines, the last: %s", len(lines), lines[len(lines)-1])
	}
}
