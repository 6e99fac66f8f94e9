package lab

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
)

// Audiences and app IDs of the APIs that are older than Graph's (reference
// mde-api §3).
const (
	mdeAudience    = "https://api.securitycenter.microsoft.com"
	mdeOldAudience = "https://securitycenter.onmicrosoft.com/windowsatpservice"
	mdeID          = "fc780465-2017-40d4-a0c5-307022471b92"
	xdrAudience    = "https://api.security.microsoft.com"
	xdrID          = "8ee8fdad-f234-4243-8f3b-15c294843740"
	mdeGCC         = "https://api-gcc.securitycenter.microsoft.us"
	mdeGCCHigh     = "https://api-gov.securitycenter.microsoft.us" // and DoD
)

// nearer are the prefixes of servers nearer to a customer, on the new base and,
// behind api-, on the older one.
var nearer = []string{"us", "eu", "uk", "au", "swa", "ina", "aea"}

// isMDEHost reports whether a name is one of the API of Defender for Endpoint
// (reference mde-api §2).
func isMDEHost(host string) bool {
	switch host {
	case "api.security.microsoft.com", "api.securitycenter.microsoft.com", "api.securitycenter.windows.com", "mde.lab.test":
		return true
	}
	if "https://"+host == mdeGCC || "https://"+host == mdeGCCHigh {
		return true
	}
	if region, ok := strings.CutSuffix(host, ".api.security.microsoft.com"); ok {
		return slices.Contains(nearer, region)
	}
	if region, ok := strings.CutSuffix(host, ".securitycenter.microsoft.com"); ok {
		region, ok = strings.CutPrefix(region, "api-")
		return ok && slices.Contains(nearer, region)
	}
	return false
}

// mdeAccepts reports whether the API of Defender for Endpoint takes tokens for
// an audience at a host. Strict leaves what is documented; else a host takes
// the audience of its neighbour on the same name too, and GCC, where people
// sign in at the commercial cloud, that cloud's.
func mdeAccepts(host, audience string, strict bool) bool {
	own := audience == mdeAudience || audience == mdeOldAudience || audience == mdeID
	xdr := audience == xdrAudience || audience == xdrID
	switch host = bare(host); {
	case "https://"+host == mdeGCC:
		return audience == mdeGCC || !strict && own
	case "https://"+host == mdeGCCHigh:
		return audience == mdeGCCHigh
	case strings.HasSuffix(host, ".microsoft.com"), strings.HasSuffix(host, ".windows.com"):
		return own || !strict && xdr
	}
	return own || !strict && (xdr || audience == mdeGCC || audience == mdeGCCHigh || isLabHost(audience, "mde"))
}

// grants reports whether a permission is one of the resource that a token is
// for.
func grants(audience, permission string) bool {
	if center := permission == "user_impersonation"; center || audience == centerAudience {
		return center && audience == centerAudience
	}
	native := audience == mdeAudience || audience == mdeOldAudience || audience == mdeGCC || audience == mdeGCCHigh || audience == xdrAudience
	older := strings.HasPrefix(permission, "Alert.") || strings.HasPrefix(permission, "Incident.")
	return native == older || isLabHost(audience, "mde")
}

// Reach is what a dialler of a host meets: nil, or the error of a name that
// does not resolve, or of a port where nobody listens, when the API of
// Defender for Endpoint is retired. It is for tests that bring a network of
// their own; on a real one the lab resets connections that ask for the name.
func (l *Lab) Reach(host string) error {
	if host = bare(host); !isMDEHost(host) {
		return nil
	}
	switch l.api.Switches().MDERetired {
	case "unresolved":
		return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
	case "refused":
		return &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("connect: %w", syscall.ECONNREFUSED)}
	}
	return nil
}
