package drover

// Person is who signed in, as a checked ID token says it.
type Person struct {
	Tenant TenantID // the directory that vouches for them: the token's tid
	// ID is the person's object ID in that directory, "" if the token has none.
	ID string
	// Name is for people to read. It can be changed and given to somebody else:
	// nothing is decided by it.
	Name string
}
