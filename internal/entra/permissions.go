package entra

import (
	"slices"
	"strings"

	"drover"
)

// Permissions are what an access token carries.
type Permissions struct {
	List      []string // roles of an app, or scopes of a signed-in user
	Delegated bool     // it is a user's: what the user may not see is not shown
}

// Carried reads the permissions of a token; ok is false if it cannot be read,
// which says nothing of whether it works.
func Carried(token drover.Secret) (p Permissions, ok bool) {
	c, ok := readClaims(token)
	return c.permissions(), ok
}

func (c claims) permissions() Permissions {
	scopes := strings.Fields(c.Scope)
	return Permissions{List: append(slices.Clone(c.Roles), scopes...), Delegated: len(scopes) > 0 && len(c.Roles) == 0}
}

// Open reports whether they read a source, known false if the API does not say
// by which permissions it is read.
func (p Permissions) Open(s drover.SourceID) (open, known bool) {
	wants := Wants(s)
	return slices.ContainsFunc(p.List, func(h string) bool {
		return slices.ContainsFunc(wants, func(w string) bool { return strings.EqualFold(w, h) })
	}), wants != nil
}

// Unfit is the cause inside of the *drover.Error of a token that was dropped
// unused: why, and what it carries.
type Unfit struct {
	Permissions
	why string
}

// Error says why.
func (u *Unfit) Error() string { return u.why }
