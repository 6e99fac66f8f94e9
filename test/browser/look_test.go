package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// faults finds, by what the browser has computed, what keeps people from using a
// page: text that is too pale (WCAG 2.2, 1.4.3), a field without a name, no
// title, language or single heading, a button that is too small for a finger
// (2.5.8, and Apple's and Google's 44), a page that scrolls sideways (1.4.10).
const faults = `(() => {
  const out = [], lum = c => { const f = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]) };
  const rgb = s => { const m = (s.match(/[\d.]+/g) || []).map(Number); return m.length > 3 && m[3] === 0 ? null : m.slice(0, 3) };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c) return c } return [255, 255, 255] };
  if (document.documentElement.scrollWidth > window.innerWidth) out.push("scrolls sideways: " + document.documentElement.scrollWidth + " in " + window.innerWidth);
  if (!document.documentElement.lang) out.push("no language");
  if (!document.title) out.push("no title");
  if (document.querySelectorAll("h1").length !== 1) out.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) out.push("not one main");
  if (document.scripts.length) out.push("a script");
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; n = walk.nextNode();) {
    if (!n.data.trim() || n.parentElement.closest("style,script,title")) continue;
    const s = getComputedStyle(n.parentElement), a = lum(rgb(s.color)), b = lum(ground(n.parentElement)), r = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (r < 4.5) out.push("contrast " + r.toFixed(2) + ": " + n.data.trim().slice(0, 40));
    if (parseFloat(s.fontSize) < 13) out.push("text of " + s.fontSize + ": " + n.data.trim().slice(0, 40));
  }
  for (const e of document.querySelectorAll("input:not([type=hidden]),select,textarea")) if (!e.labels.length && !e.getAttribute("aria-label")) out.push("a field without a label");
  for (const e of document.querySelectorAll("button,a.button")) {
    if (!e.innerText.trim()) out.push("a button without a name");
    if (e.getBoundingClientRect().height < 44) out.push("a button " + e.getBoundingClientRect().height + " high");
  }
  let last = 0;
  for (const h of document.querySelectorAll("h1,h2,h3,h4")) { const n = +h.tagName[1]; if (n > last + 1) out.push("a heading is left out before " + h.innerText); last = n }
  return out
})()`

// sizes are those at which every page is looked at.
var sizes = []struct {
	name          string
	width, height int64
	dark          bool
}{{"desktop", 1280, 900, false}, {"phone", 390, 844, false}, {"phone-dark", 390, 844, true}, {"desktop-dark", 1280, 900, true}}

// look checks the page that is open at every size, and takes its picture.
func (t *tab) look(name string) {
	t.t.Helper()
	if name == "" {
		return
	}
	for _, s := range sizes {
		scheme := "light"
		if s.dark {
			scheme = "dark"
		}
		t.do(chromedp.EmulateViewport(s.width, s.height))
		if _, err := chromedp.Call(t.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
			t.t.Fatal(err)
		}
		for _, f := range ask[[]string](t, faults) {
			t.t.Errorf("%s, %s: %s", name, s.name, f)
		}
		if t.shots == "" {
			continue
		}
		picture, err := chromedp.Run(t.ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(t.shots, fmt.Sprintf("%s-%s.png", strings.ReplaceAll(name, "/", "-"), s.name)), picture, 0o600); err != nil {
			t.t.Fatal(err)
		}
	}
	t.seen++
}
