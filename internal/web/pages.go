package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"drover"
	"drover/internal/ledger"
)

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

var (
	pages = template.Must(template.New("page").Parse(strings.Replace(pageText, "STYLE", styleText, 1)))
	// styleHash lets this style in, and no other (Content Security Policy Level 3
	// §8.2).
	styleHash = func() string {
		sum := sha256.Sum256([]byte(styleText))
		return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	}()
)

// page is what a page holds. Words are plain: whoever reads it has never heard of
// drover.
type page struct {
	Title, Notice string
	Paragraphs    []string
	Facts         []fact
	ItemsHead     string
	Items         []item
	Sections      []Section
	Button        string // sends a form to Action
	Action, Form  string
	Link          string // to somewhere else
	LinkText      string
	After         []string
	Refresh       string
	LeavePath     string

	MSSP, Contact string
}

type fact struct{ Name, Text, Small string }

// item is a line of a list; Mark is good, bad or empty.
type item struct{ Mark, Word, Text, Small, Do string }

// show writes a page.
func (s *Server) show(w http.ResponseWriter, status int, p page) {
	p.MSSP, p.Contact = s.opt.MSSP, s.opt.Contact
	var b bytes.Buffer
	if err := pages.Execute(&b, p); err != nil {
		s.opt.Log.Error("a page cannot be written", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// about is the page without a link.
func (s *Server) about() page {
	return page{Title: "Connect Microsoft Defender", Paragraphs: []string{
		s.opt.MSSP + " watches Microsoft Defender for its customers. On this page an admin of a customer's agrees that the alerts may be read.",
		"It is opened by a link that " + s.opt.MSSP + " has sent you. Without that link there is nothing to do here.",
	}}
}

func (s *Server) nothing() page {
	return page{Title: "There is nothing here", Paragraphs: []string{"Open the link that you were sent, whole."}}
}

func (s *Server) unknown() page {
	return page{Title: "This link is not known", Paragraphs: []string{
		"It may have been cut off or changed on its way, or it is no longer kept.",
		"Open it whole, or copy it into the address bar of your browser. If that does not help, ask " + s.opt.MSSP + " for a new one.",
	}}
}

func (s *Server) used() page {
	return page{Title: "This link has been used already", Paragraphs: []string{
		"Somebody has signed in by it and gone on; it opens nothing a second time.",
		"If that was you, go on in the browser in which you signed in. If it was nobody you know, tell " + s.opt.MSSP + ".",
	}}
}

func (s *Server) elsewhere() page {
	return page{Title: "This browser is at no invitation", Paragraphs: []string{
		"Either you have gone on in another browser since, or this one has forgotten where it was.",
		"Open the link from your message again.",
	}}
}

func (s *Server) foreign() page {
	return page{Title: "This answer belongs to another sign-in", Paragraphs: []string{
		"Nothing has changed by it. Either the sign-in was begun in another browser, or it took too long.",
		"Open the link from your message again. If an admin has agreed in this browser for somebody else who signed in: that is enough, and you can close this page.",
	}}
}

func (s *Server) foreignForm() page {
	return page{Title: "This page was too old", Paragraphs: []string{
		"Nothing has changed. Your browser did not send what this page had given it; it may refuse cookies.",
		"Allow cookies for this address, then open the link from your message again.",
	}}
}

func (s *Server) notYet() page { return page{Title: "Not yet"} }

func (s *Server) tooMany() page {
	return page{Title: "One moment", Paragraphs: []string{"Too many pages were asked for at once. Wait ten seconds, and reload this page."}}
}

func (s *Server) broken() page {
	return page{Title: "That did not work", Paragraphs: []string{
		"Something went wrong on our side, and nothing is lost: what you have done so far is kept.",
		"Try again in a few minutes by the link from your message.",
	}}
}

// on leads to a page of Microsoft's. It is no redirect: a form's policy would
// hold for all that Microsoft redirects to.
func (s *Server) on(to, what string) page {
	return page{Title: "On to Microsoft", Refresh: "0; url=" + to, Paragraphs: []string{"You are led to " + what + " at Microsoft. If nothing happens:"}, Link: to, LinkText: "Continue to Microsoft"}
}

// closed says why a link opens nothing any more.
func (s *Server) closed(i *ledger.Invitation) (page, bool) {
	switch i.State {
	case ledger.InviteWithdrawn:
		return page{Title: "This link has been withdrawn", Paragraphs: []string{s.opt.MSSP + " has taken it back, or has sent a newer one. Use the newest, or ask for one."}}, true
	case ledger.InviteExpired:
		return s.expired(i), true
	case ledger.InviteConsented, ledger.InviteWaiting, ledger.InviteDone, ledger.InviteRefused:
		return s.used(), true
	}
	if drover.InstantOf(time.Now()) >= i.Ends {
		return s.expired(i), true
	}
	return page{}, false
}

func (s *Server) expired(i *ledger.Invitation) page {
	return page{Title: "This link has expired", Paragraphs: []string{"It was good until " + day(i.Ends) + ". Nothing has changed by it.", "Ask " + s.opt.MSSP + " for a new one."}}
}

// day writes a moment for a person anywhere.
func day(i drover.Instant) string { return i.Time().Format("2 January 2006, 15:04") + " UTC" }

// words for what a source brings.
var reads = map[drover.SourceID]string{
	drover.GraphAlerts:    "Alerts of Microsoft Defender",
	drover.GraphIncidents: "Incidents of Microsoft Defender",
	drover.MDEAlerts:      "Alerts of Microsoft Defender for Endpoint",
	drover.SIEMDetections: "Detections of Microsoft Defender for Endpoint, by its older interface",
}

func sourceWords(id drover.SourceID) string {
	if w := reads[id]; w != "" {
		return w
	}
	return string(id)
}

// asked lists what is asked for, each permission with what it is for.
func (s *Server) asked(i *ledger.Invitation) (items []item) {
	list := i.Wanted.Sources
	if i.Purpose == ledger.Reconsent {
		list = i.Lacks
	}
	for _, id := range list {
		it := item{Text: sourceWords(id)}
		if p := s.opt.Permission(id); p != "" {
			it.Small = "read only: " + p
		} else {
			it.Small = "read only; authorised in the Defender portal"
		}
		items = append(items, it)
	}
	return items
}

// asks is the first page: who asks for what.
func (s *Server) asks(i *ledger.Invitation, action, form string) page {
	p := page{Title: "Let " + s.opt.MSSP + " read your Defender alerts", ItemsHead: "What will be read", Items: s.asked(i), Button: "Continue to sign in", Action: action, Form: form}
	p.Paragraphs = []string{s.opt.MSSP + " watches Microsoft Defender for your organization and asks for the permission to read its alerts. Nothing can be changed with it: no setting, no device, no account."}
	if i.Purpose == ledger.Reconsent {
		p.Title = "Let " + s.opt.MSSP + " read one thing more"
		p.Paragraphs = []string{s.opt.MSSP + " reads Microsoft Defender for your organization already. For the following a further permission is needed. Nothing can be changed with it: no setting, no device, no account."}
		p.ItemsHead = "What will be read in addition"
	}
	if i.Wanted.ID != "" {
		p.Facts = append(p.Facts, fact{"Organization", i.Wanted.Name, "tenant " + string(i.Wanted.ID)})
	} else {
		p.Facts = append(p.Facts, fact{"Organization", "that of the account with which you sign in", ""})
	}
	p.Facts = append(p.Facts, fact{"This link is good", "until " + day(i.Ends), ""})
	p.Sections = []Section{{"What you do", true, []string{
		"Sign in at Microsoft with your work account. " + s.opt.MSSP + " sees your name, never your password.",
		"Read at Microsoft what is asked for, and accept. That takes a Privileged Role Administrator or Global Administrator of your organization.",
		"See here what came of it.",
	}}}
	p.After = []string{"You can take the permission back at any time, without asking anybody."}
	return p
}

// stands is how far an invitation is, for the browser that goes on with it.
func (s *Server) stands(i *ledger.Invitation, form string) page {
	if drover.InstantOf(time.Now()) >= i.Ends && (i.State == ledger.InviteOpened || i.State == ledger.InviteSignedIn) {
		return s.expired(i)
	}
	who := []fact{{"Signed in", clean(i.Who.Name), "tenant " + string(i.Who.Tenant)}}
	switch i.State {
	case ledger.InviteOpen, ledger.InviteOpened:
		p := page{Title: "You have not signed in yet", Notice: trouble(i.Why), Paragraphs: []string{"Sign in at Microsoft with your work account to go on."}, Button: "Sign in", Action: s.base + "/again", Form: form}
		if p.Notice != "" {
			p.Title = "The sign-in did not work"
		}
		return p
	case ledger.InviteSignedIn:
		if i.Looked {
			return s.toConsent(i, who, form)
		}
		p := page{Title: "One moment", Facts: who, Paragraphs: []string{"We are looking whether your organization has agreed before. This page goes on by itself."}, Refresh: "3"}
		if i.Why != "" {
			p.Title, p.Notice, p.Refresh = "This needs "+s.opt.MSSP, trouble(i.Why), "30"
			p.Paragraphs = []string{"Your sign-in is kept, and we go on trying. You can close this page and come back to it in this browser."}
		}
		return p
	case ledger.InviteConsented:
		p := page{Title: "Thank you", Facts: who, Paragraphs: []string{"Your agreement is on its way through Microsoft's cloud. That takes a few seconds as a rule, and some minutes at most.", "You can close this page; we go on by ourselves. If you leave it open, it shows what came of it."}, Refresh: "5", LeavePath: s.base + "/leave"}
		if i.Why != "" {
			p.Notice, p.Refresh = trouble(i.Why), "60"
		}
		return p
	case ledger.InviteWaiting:
		return page{Title: "Thank you", Facts: who, Paragraphs: []string{"There is nothing more for you to do. Before anything is read, somebody at " + s.opt.MSSP + " makes sure that this is the right organization, and may ask you for your tenant ID.", "You find it in the Entra admin center under Overview."}, LeavePath: s.base + "/leave"}
	case ledger.InviteRefused:
		return page{Title: "This was not accepted", Facts: who, Paragraphs: []string{s.opt.MSSP + " has decided that this was not the organization that was meant. Nothing is read.", "If you gave the permission, take it back:"}, LeavePath: s.base + "/leave"}
	case ledger.InviteDone:
		return s.result(i, who)
	}
	p, _ := s.closed(i)
	return p
}

// toConsent is the page between the sign-in and the consent.
func (s *Server) toConsent(i *ledger.Invitation, who []fact, form string) page {
	p := page{Title: "You have signed in", Notice: trouble(i.Why), Facts: who, ItemsHead: "What will be read", Items: s.asked(i), Button: "Continue to the permissions", Action: s.base + "/consent", Form: form,
		Paragraphs: []string{"One step is left: an admin of your organization agrees at Microsoft. If you are not an admin, send the link from your message to one."},
		After:      []string{"Not you, or the wrong organization? Open the link from your message in another browser or a private window."}}
	if i.Why != "" {
		p.Title = "The permission was not given"
	}
	if time.Since(i.SignedIn.Time()) > time.Hour {
		p.Notice, p.Button, p.Action = "Your sign-in was some time ago. Sign in again to go on.", "Sign in again", s.base+"/again"
	} else if i.Asked.Known() && time.Since(i.Asked.Time()) < 15*time.Minute {
		p.Refresh = "15" // an admin may agree elsewhere
	}
	return p
}

// result is the last page.
func (s *Server) result(i *ledger.Invitation, who []fact) page {
	p := page{Title: "Done, thank you", Facts: who, LeavePath: s.base + "/leave"}
	if i.Results == nil {
		p.Paragraphs, p.Refresh = []string{"Your organization is connected. We are trying each thing that is to be read; this page shows what came of it."}, "5"
		return p
	}
	good := 0
	for _, r := range i.Results {
		it := result(r.Outcome, s.opt.MSSP)
		it.Text = sourceWords(r.Source) + it.Text
		it.Small = s.opt.Permission(r.Source)
		if it.Mark == "good" {
			good++
		}
		p.Items = append(p.Items, it)
	}
	p.ItemsHead = "What came of it"
	switch {
	case good == len(i.Results):
		p.Paragraphs = []string{"Everything works. There is nothing more for you to do, and you can close this page."}
	case good > 0:
		p.Paragraphs = []string{"Your organization is connected. Not everything can be read yet; below stands what is missing, and who does it."}
	default:
		p.Title = "Connected, and nothing can be read yet"
		p.Paragraphs = []string{"Below stands what is missing, and who does it."}
	}
	return p
}

// clean keeps control characters and turned writing out of names.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '�'
		}
		return r
	}, s)
}

// leaving is the page about taking a permission back.
func (s *Server) leaving(l Leave) page {
	return page{Title: "What was granted, and how to take it back", Paragraphs: []string{l.About, fmt.Sprintf("With it %s reads, and can change nothing. When it has been taken back, nothing more is read; what was read before is kept or deleted as you have agreed with %s.", s.opt.MSSP, s.opt.MSSP)}, Sections: l.Sections}
}
