package web

// Words for why a try has ended. The desk is given them by who knows Entra's
// codes.
const (
	Declined    = "declined"     // whoever was asked said no
	NeedsAdmin  = "needs_admin"  // the person may not consent
	WrongTenant = "wrong_tenant" // another organization than the one that is invited
	NotMember   = "not_member"   // the account is unknown there
	Policy      = "policy"       // Conditional Access and its like
	Unassigned  = "unassigned"   // the customer wants users assigned
	Again       = "sign_in"      // the sign-in has ended, was used or needs more
	Passing     = "passing"      // Microsoft has a passing fault
	NoService   = "no_service"   // no licence, or switched off
	NoApp       = "no_app"       // the app is not known there yet, or is disabled
	NoTenant    = "no_tenant"    // gone, or in another cloud
	Ours        = "ours"         // the MSSP's registration or credential
	NotShown    = "not_shown"    // consented, and it does not show
	Unnamed     = "unknown"      // a reason that drover does not know
)

// Troubles lists the words that trouble has a sentence for.
var Troubles = []string{Declined, NeedsAdmin, WrongTenant, NotMember, Policy, Unassigned, Again, Passing, NoService, NoApp, NoTenant, Ours, NotShown, Unnamed}

// trouble puts in plain words why a try has ended, and what to do.
func trouble(why string) string {
	switch why {
	case "":
		return ""
	case Declined:
		return "At Microsoft, Cancel was chosen. Nothing has changed. If that was a mistake, go on below."
	case NeedsAdmin:
		return "Your account may not give this permission for the whole organization. Send the link from your message to a Privileged Role Administrator or Global Administrator, or sign in as one."
	case WrongTenant:
		return "You signed in with an account of another organization than the one that is invited. Nothing has changed. Sign in with your work account of the invited organization; a private window helps if Microsoft offers only the other one."
	case NotMember:
		return "Microsoft does not know this account in the invited organization, or the account is switched off. Sign in with another work account."
	case Policy:
		return "Your organization's rules for signing in (Conditional Access) refuse this. An admin of yours can allow the application, or sign in from a device and a place that the rules allow."
	case Unassigned:
		return "Your organization lets only assigned people use this application. An admin of yours assigns them in the Entra admin center under Enterprise applications."
	case Again:
		return "The sign-in took too long, was used already, or was not completed. Sign in again."
	case Passing:
		return "Microsoft had a fault just now. Nothing has changed; try again in a few minutes."
	case NoService:
		return "Your organization does not have this Microsoft service, or it is switched off. Nothing was read."
	case NoApp:
		return "Microsoft does not know our application in your organization yet, or an admin of yours has switched it off there. Try again in a few minutes; if it stays so, look under Enterprise applications."
	case NoTenant:
		return "Microsoft does not find your organization in this cloud: it may be in a national cloud. Tell whoever sent you the link."
	case Ours:
		return "Something is wrong with the application's registration. That is ours to mend: we have been told, and you need do nothing."
	case NotShown:
		return "An admin has agreed, and Microsoft does not show it yet. We go on looking. If you did not accept to the end, open the link again."
	}
	return "Microsoft refused, for a reason that we do not know. Nothing has changed; try again, and tell whoever sent you the link if it stays so."
}

// result puts in plain words how a source stands. Text goes behind its name.
func result(outcome, mssp string) item {
	switch outcome {
	case "works":
		return item{Mark: "good", Word: "Works:"}
	case "role missing":
		return item{Mark: "bad", Word: "Permission missing:", Do: "It was not among those that you accepted. " + mssp + " adds it to the application, and then asks you once more."}
	case "no licence":
		return item{Mark: "bad", Word: "Not there:", Do: "Your organization has no licence for this service. If it should have, look at your subscriptions; else " + mssp + " leaves it out."}
	case "not onboarded":
		return item{Mark: "bad", Word: "Not set up:", Do: "Open the Microsoft Defender portal once as an admin and let it finish its set-up. If you do not use it, " + mssp + " leaves it out."}
	case "role missing or not onboarded":
		return item{Mark: "bad", Word: "Refused:", Do: "Microsoft does not say which: the permission is missing, or Defender was never set up. Open the Microsoft Defender portal once as an admin; " + mssp + " looks after the rest."}
	case "consent pending":
		return item{Mark: "bad", Word: "Not visible yet:", Do: "Microsoft takes its time until an agreement shows. We go on looking; you need do nothing."}
	case "not authorised in the portal":
		return item{Mark: "bad", Word: "One step is left:", Do: "This interface is authorised in the Defender portal: Settings > Endpoints > APIs > SIEM > MSSP. " + mssp + " tells you which two IDs to enter."}
	case "refused":
		return item{Mark: "bad", Word: "Refused:", Do: mssp + " has the reason, and looks after it."}
	case "could not be asked":
		return item{Mark: "bad", Word: "Not tried:", Do: "It did not answer just now. It is tried again by itself."}
	}
	return item{Mark: "bad", Word: outcome + ":", Do: mssp + " looks after it."}
}

// Explained reports whether there are words of its own for an outcome.
func Explained(outcome string) bool { return result(outcome, "").Word != outcome+":" }
