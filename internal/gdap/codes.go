package gdap

// Codes of errors (drover.Error.Code) that whoever connects customers acts on;
// others have the peer's own.
const (
	CodeNoMFA      = "partner center: no MFA"      // 401 without a body: the sign-in was without a second factor
	CodeForbidden  = "partner center: forbidden"   // 403: not of AdminAgents, or no role that may consent
	CodeNoCustomer = "partner center: no customer" // 404: not in the partner's list
	CodeExists     = "exists already"              // 400 or 409
	// CodeWrongToken is a token for another tenant, API or app than was asked
	// for: an event for who watches over security.
	CodeWrongToken = "wrong token"
)

// Role is a role that a service principal is granted, by the IDs of a tenant.
type Role struct {
	API string `json:"resourceId"` // the API's service principal
	ID  string `json:"appRoleId"`
}
