#!/bin/sh
# Checks records against their manifests, and names tenant and hour of what is
# missing, repeated, altered or not drover's. What it needs: awk, base64, find,
# jq, join, sha256sum, sort.
#
#   sh manifest.sh            the files of the sink
#   sh manifest.sh FILE...    these; - is standard input
#
# Exit status: 0 everything matches, 1 something does not, 2 it cannot be told.
set -eu
LC_ALL=C; export LC_ALL
for tool in awk base64 find jq join sha256sum sort; do
  command -v "$tool" >/dev/null || { echo "$tool is needed" >&2; exit 2; }
done
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM
mkdir "$work/rows" "$work/sets"
: >"$work/index"; : >"$work/told"; : >"$work/sums"; : >"$work/setsums"
tab=$(printf '\t')

# Each row goes into a file of its own, a few thousand at a time: its bytes as
# received, from behind the envelope to the record's last brace.
cat >"$work/flush" <<'FLUSH'
cd "$1/rows" || exit 2
for f in *.b64; do
  [ -e "$f" ] || continue
  base64 -d "$f" >"${f%.b64}" 2>/dev/null || echo broken >"${f%.b64}"
done
rm -f -- *.b64
for f in *; do
  [ -e "$f" ] || exit 0
  break
done
sha256sum * | awk '{print $2 "\t" $1}' >>../sums
rm -f -- *
FLUSH
if [ $# -gt 0 ]; then awk 1 "$@"; else find {{root}} -type f ! -name '.*' -exec awk 1 {} +; fi |
  awk -v work="$work" '
    function put(name, text) { ORS = ""; print text >name; close(name); ORS = "\n" }
    {
      i = index($0, "},\"alert\":"); j = index($0, "},\"raw_base64\":\"")
      if (i && (!j || i < j)) {
        put(work "/rows/" NR, substr($0, i + 10, length($0) - i - 10))
        print NR "\t" substr($0, 1, i) "}" >(work "/index")
      } else if (j) {
        put(work "/rows/" NR ".b64", substr($0, j + 16, length($0) - j - 17))
        print NR "\t" substr($0, 1, j) "}" >(work "/index")
      } else if (index($0, "\"kind\":\"manifest\""))
        print >(work "/told")
      if (NR % 4000 == 0) system("sh " work "/flush " work)
    }'
sh "$work/flush" "$work"

# Alerts: line, tenant|source|incarnation, number, event ID, what the envelope
# says of the row. Then the item of the hash: event ID and the row as it is.
jq -R -r 'try (split("\t") as $l | ($l[1:] | join("\t") | fromjson).drover | select(.replay != true) | select(.event_id | test("^[0-9a-f]{32}$")) |
    [$l[0], ([.tenant, .source, .incarnation] | join("|")), ("000000000000000" + (.seq | tostring))[-15:], .event_id, .sha256] | @tsv) catch empty' "$work/index" |
  sort -t "$tab" -k1,1 >"$work/alerts"
sort -t "$tab" -k1,1 "$work/sums" | join -t "$tab" "$work/alerts" - |
  awk -F '\t' -v OFS='\t' '{print $2, $3, 1, $4 ":" ($5 == $6 ? $6 : "altered")}' >"$work/lines"

# Manifests: key, first, last, event ID, after, count, hash, hour, customer.
jq -R -r 'try (fromjson.drover | select(.kind == "manifest") | select(.event_id | test("^[0-9a-f]{32}$")) | def wide: ("000000000000000" + tostring)[-15:];
    [([.tenant, .source, .incarnation] | join("|")), (.first | wide), 0, (.last | wide), .event_id, (.after | wide), .count, .hash, .hour, .customer] | @tsv) catch empty' "$work/told" |
  sort -u >"$work/manifests"

# Each alert belongs to the manifest whose numbers hold its own.
sort -t "$tab" -k1,1 -k2,2 -k3,3 "$work/lines" "$work/manifests" |
  awk -F '\t' -v OFS='\t' '$3 == 0 {key = $1; last = $4; id = $5; next} $1 == key && $2 "" <= last "" {print id, $4}' |
  sort >"$work/members"

# The hash: the items in the order of their bytes, each once, with commas between.
cat >"$work/flushsets" <<'FLUSH'
cd "$1/sets" || exit 2
for f in *; do
  [ -e "$f" ] || exit 0
  break
done
sha256sum * | awk '{print $2 "\t" $1}' >>../setsums
rm -f -- *
FLUSH
awk -F '\t' -v OFS='\t' -v work="$work" '
  function end() {
    if (id == "") return
    close(file); print id, n, ids, items >(work "/counts")
    if (++sets % 4000 == 0) system("sh " work "/flushsets " work)
  }
  $1 != id {end(); id = $1; file = work "/sets/" id; n = ids = items = 0; item = event = ""}
  {
    n++
    if ($2 != item) {
      item = $2; ORS = ""; print (items++ ? "," : "") item >file; ORS = "\n"
      if (substr(item, 1, 32) != event) {event = substr(item, 1, 32); ids++}
    }
  }
  END {end()}' "$work/members"
sh "$work/flushsets" "$work"
touch "$work/counts"

awk -F '\t' -v OFS='\t' -v counts="$work/counts" -v sums="$work/setsums" '
  BEGIN {
    while ((getline <counts) > 0) {n[$1] = $2; ids[$1] = $3; items[$1] = $4}
    while ((getline <sums) > 0) sum[$1] = $2
  }
  function say(what) {split($1, k, "|"); print k[1], $10, k[2], $9, what; bad = 1}
  {
    id = $5; all++
    if ($1 == key && $6 "" != last "") say("a manifest before this one is missing")
    key = $1; last = $4
    if (ids[id] < $7) say(($7 - ids[id]) " missing")
    if (n[id] > items[id]) say((n[id] - items[id]) " repeated")
    if (ids[id] > $7) say((ids[id] - $7) " that drover did not send")
    if (items[id] > ids[id] || ids[id] == $7 + 0 && sum[id] != $8) say("altered")
  }
  END {
    print all + 0 " manifests looked at" >"/dev/stderr"
    exit bad ? 1 : 0
  }' "$work/manifests"
