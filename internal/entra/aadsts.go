package entra

import (
	"maps"
	"slices"

	"drover"
)

// Class is what an AADSTS code is about (reference faults-and-invariants T02).
type Class string

// The classes.
const (
	Wait          Class = "wait"                 // Entra slows us down
	Passing       Class = "transient"            // a fault that passes by itself
	SignIn        Class = "sign in again"        // a person's grant has ended
	Credential    Class = "credential"           // secret, certificate or assertion
	Consent       Class = "consent"              // the customer has not agreed
	Policy        Class = "policy"               // the customer's rules refuse us
	TenantGone    Class = "tenant gone"          // unknown, withdrawn or elsewhere
	NoPrincipal   Class = "no service principal" // the app is not in the tenant, or not yet
	Federation    Class = "federation"           // a federated credential does not match
	Configuration Class = "configuration"        // our request or registration is wrong
	NotLicensed   Class = "not licensed"         // the customer lacks the service
)

// Who must do something about it.
type Who string

// Those who can.
const (
	Us       Who = "us"                   // the MSSP: config, registration, a sign-in
	Customer Who = "the customer's admin" // in the customer's own directory or portal
	Nobody   Who = "nobody"               // it passes by itself
)

// Remedy is what a code means, what to do, and who.
type Remedy struct {
	Class Class
	Kind  drover.Kind
	App   bool // it concerns the app registration, so every tenant at once
	Who   Who
	Why   string // the cause, in an operator's words
	Do    string // what to do; "" if there is nothing
}

// Hint puts both in one line.
func (r Remedy) Hint() string {
	if r.Do == "" {
		return r.Why
	}
	return r.Why + ": " + r.Do
}

// groups is the table of reference entra-oauth §8, with the codes of
// mssp-onboarding §6, of the device flow (§3) and of partner-gdap §1.6; codes
// of one remedy stand together.
var groups = []struct {
	Remedy
	codes []int
}{
	{Remedy{Credential, drover.Denied, true, Us, "the client secret is wrong", "put the secret's value, not its ID, into the app's secret file"}, []int{7000215}},
	{Remedy{Credential, drover.Denied, false, Us, "the credentials do not match", "put the secret's value, not its ID, into the app's secret file"}, []int{70002}},
	{Remedy{Credential, drover.Denied, true, Us, "the client secret has expired", "give the app a new one or, better, a certificate (drover app rotate), and name it in the config"}, []int{7000222}},
	{Remedy{Credential, drover.Denied, true, Us, "the certificate is not registered for this app, has expired, or the key belongs to another one", "compare what the app has with the config (drover app check), and give it a new one (drover app rotate)"}, []int{700027, 700030}},
	{Remedy{Credential, drover.Denied, true, Us, "the client secret or certificate is not accepted", "is it registered for this app, and has it expired? See drover app check"}, []int{50012}},
	{Remedy{Credential, drover.Denied, true, Us, "no secret or assertion reached Entra", "name the app's secret or certificate in the config"}, []int{7000218, 7000216}},
	{Remedy{Credential, drover.Denied, true, Us, "the app is registered as a public client", "allow confidential use in its registration, or remove its secret from the config"}, []int{700025}},
	{Remedy{Credential, drover.Transient, true, Us, "the signed assertion lies outside of its time", "check this machine's clock (NTP)"}, []int{700024}},
	{Remedy{Credential, drover.Denied, false, Us, "the assertion is not accepted", "check this machine's clock and the cloud's authority"}, []int{50027, 50013, 500133, 700021, 700023}},
	{Remedy{Federation, drover.Transient, true, Us, "no federated credential matches", "compare issuer, subject (letter case!) and audience; after making one, some minutes pass"}, []int{70021, 700211, 700213, 7002137, 7002138}},
	{Remedy{Federation, drover.Denied, true, Us, "the home tenant's policy wants something else in the federated token", "ask the admin of the directory that owns the app which issuers and claims its policy allows"}, []int{7002381, 700229}},
	{Remedy{NoPrincipal, drover.Denied, false, Customer, "the app is not in this tenant", "the customer's admin must consent; some minutes may pass until it shows"}, []int{7000229}},
	{Remedy{NoPrincipal, drover.Denied, false, Customer, "the app is unknown in this tenant", "check the tenant ID; if it is right, the customer's admin must consent"}, []int{700016, 700011}},
	{Remedy{NoPrincipal, drover.Transient, false, Customer, "the app's service principal is not ready in this tenant yet", "if it stays so, have the customer's admin consent again"}, []int{650051}},
	{Remedy{Policy, drover.Denied, true, Us, "the app has been disabled", "ask the admin of the tenant that owns it, or of the customer's; it may be a security measure"}, []int{7000112, 70001}},
	{Remedy{Policy, drover.Transient, false, Customer, "the app cannot be used in this tenant at this time", "if it stays so, ask its admin"}, []int{1000031}},
	{Remedy{Configuration, drover.Denied, true, Us, "the app is registered for one tenant only", "set its audience to multiple organizations"}, []int{50194}},
	{Remedy{Consent, drover.Denied, false, Customer, "the customer's admin must consent to the app's permissions", "send the consent link to an admin"}, []int{65001, 65004, 90094, 90095}},
	{Remedy{Consent, drover.Denied, false, Us, "the app is not consented for delegated administration in this tenant", "have it consented there"}, []int{90099}},
	{Remedy{NotLicensed, drover.Denied, false, Customer, "the customer has no licence for the service, or has never opened the Defender portal", "the customer buys a licence or opens the portal once; or leave the source out"}, []int{650052}},
	{Remedy{NotLicensed, drover.Denied, false, Customer, "the service is disabled at the customer; our credential is fine", "a subscription lapsed, or an admin switched it off: the customer renews it or enables it again"}, []int{500014}},
	// Of one API: those that the registration names work.
	{Remedy{Configuration, drover.Denied, false, Us, "a permission of this API is not in the app's registration", "add it, then have the customers consent again"}, []int{650056, 650057, 65005}},
	{Remedy{Configuration, drover.Denied, false, Us, "the API is unknown in this tenant", "the wrong cloud, or the product has not been set up there"}, []int{500011, 50001, 650054}},
	{Remedy{Configuration, drover.Denied, false, Us, "the scope is not accepted", "check the cloud's resource in the config"}, []int{70011, 1002012, 700022, 901002, 28002, 28003}},
	{Remedy{Configuration, drover.Denied, false, Us, "the request needs the tenant's own ID", "check it in the list of tenants"}, []int{9001023, 900023}},
	{Remedy{TenantGone, drover.Denied, false, Us, "there is no such tenant in this cloud", "a typo, a deleted tenant, or the wrong cloud: check its ID with the customer"}, []int{90002}},
	{Remedy{TenantGone, drover.Denied, false, Customer, "the tenant has been withdrawn, or blocked for inactivity", "has the customer left? Then: drover tenant remove"}, []int{5000224, 5000225}},
	{Remedy{TenantGone, drover.Denied, false, Us, "the tenant is in another national cloud", "register the app there and set the tenant's cloud"}, []int{90038, 900382, 900432, 900439}},
	{Remedy{Configuration, drover.Denied, true, Us, "the redirect URI is not the registered one, byte for byte", "add the one that was sent to the app's registration (drover app show lists them)"}, []int{50011, 500112, 900971, 70004}},
	{Remedy{SignIn, drover.Denied, false, Us, "the sign-in code was used, has expired or belongs to another sign-in", "start the sign-in again"}, []int{54005, 501481, 700005, 70018, 70019, 70020, 90120, 50134}},
	{Remedy{Passing, drover.Transient, false, Nobody, "the sign-in on the other device is still open", ""}, []int{70016}},
	{Remedy{SignIn, drover.Denied, false, Us, "the delegated sign-in has ended", "sign in again (drover tenant connect), or better use application permissions"}, []int{70008, 700082, 700084, 50173, 50089, 50132, 50133, 70043, 70000, 700003}},
	{Remedy{SignIn, drover.Denied, false, Us, "multi-factor authentication is asked for", "sign in again (drover tenant connect), or better use application permissions"}, []int{50076, 50079, 50074, 50078, 50177}},
	{Remedy{Policy, drover.Denied, false, Customer, "the customer's Conditional Access refuses", "its admin must allow the app, or the address it comes from (drover tenant check NAME --for-customer writes the mail)"}, []int{53003, 53000, 530003, 530032, 53011, 50131, 50158}},
	{Remedy{Policy, drover.Denied, false, Customer, "the customer wants users and apps assigned", "its admin assigns ours under Enterprise applications"}, []int{50105}},
	{Remedy{SignIn, drover.Denied, false, Customer, "the user is not known in that tenant", "invite the account as a guest, renew the partner relationship, or check the tenant"}, []int{50020, 50034, 51004, 50014, 16003, 90072}},
	{Remedy{Policy, drover.Denied, false, Customer, "a cross-tenant policy refuses", "the tenant named in it must allow it"}, []int{500212, 500213}},
	{Remedy{SignIn, drover.Denied, false, Us, "the account is disabled, or its password has expired", "ask the owner of the service account"}, []int{50057, 50055}},
	{Remedy{Policy, drover.Denied, false, Us, "delegated administration is blocked for risk in the home tenant", "ask its security team"}, []int{530034}},
	{Remedy{SignIn, drover.Transient, false, Us, "the account is locked, or its address is blocked for now", "wait; if it stays so, ask the owner of the account"}, []int{50053}},
	{Remedy{Wait, drover.Throttled, true, Nobody, "Entra is asked for one token too often; drover waits", "if it stays so: does another program use the same app?"}, []int{50196}},
	{Remedy{Wait, drover.Throttled, true, Nobody, "Entra slows the app down; drover waits", ""}, []int{90055}},
	{Remedy{Passing, drover.Transient, false, Nobody, "Entra has a passing fault", ""}, []int{50033, 90006, 90024, 90033, 90090, 90012, 50087}},
	{Remedy{Passing, drover.Transient, false, Nobody, "Entra has a fault", "if it stays, open a ticket with Microsoft and name the trace ID"}, []int{50000, 90036}},
	{Remedy{Configuration, drover.Denied, false, Us, "the request was refused as malformed", "does a proxy change it?"}, []int{90014, 900144, 9002313, 900561}},
}

var table = func() map[int]Remedy {
	t := make(map[int]Remedy)
	for _, g := range groups {
		for _, c := range g.codes {
			t[c] = g.Remedy
		}
	}
	return t
}()

// vague codes stand in front of a second one that says more.
var vague = []int{70002, 70000, 50000}

// Explain returns what an AADSTS code means, false if it is not in the table.
func Explain(code int) (Remedy, bool) {
	r, ok := table[code]
	return r, ok
}

// Codes lists the codes of the table in order.
func Codes() []int { return slices.Sorted(maps.Keys(table)) }

// ConditionalAccess reports whether a code says that a policy of the customer's
// refuses this app, device or address.
func ConditionalAccess(code int) bool {
	return slices.Contains([]int{53003, 53000, 530003, 530032, 53011, 50131, 50158}, code)
}

// Vague reports whether a code stands in front of one that says more.
func Vague(code int) bool { return slices.Contains(vague, code) }

// unknown is for a person who meets a code that drover does not know.
var unknown = Remedy{Class: Configuration, Kind: drover.Denied, Who: Us, Why: "Entra refused for a reason that drover does not know", Do: "look the code up at https://login.microsoftonline.com/error"}

// ByWord returns what the error word says when no number is known (reference
// entra-oauth §8); ok is false if it says nothing.
func ByWord(word string) (r Remedy, ok bool) {
	r = byWord(word)
	return r, r != unknown
}

func byWord(word string) Remedy {
	switch word {
	case "temporarily_unavailable", "server_error":
		return Remedy{Passing, drover.Transient, false, Nobody, "Entra has a passing fault", ""}
	case "invalid_client":
		return Remedy{Credential, drover.Denied, false, Us, "Entra does not accept the app's credential", "compare it with what the app has: drover app check"}
	case "unauthorized_client":
		return Remedy{NoPrincipal, drover.Denied, false, Customer, "the app may not be used in this tenant", "has the customer's admin consented?"}
	case "invalid_grant", "interaction_required", "login_required":
		return Remedy{SignIn, drover.Denied, false, Us, "somebody must sign in again", "drover tenant connect"}
	case "consent_required":
		return Remedy{Consent, drover.Denied, false, Customer, "the customer's admin must consent to the app's permissions", "send the consent link to an admin"}
	}
	return unknown
}
