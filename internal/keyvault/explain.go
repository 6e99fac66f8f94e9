package keyvault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"drover"
)

// aadsts is the number of a refusal of Entra's.
var aadsts = regexp.MustCompile(`AADSTS[0-9]{5,8}`)

// word is a code that may be repeated.
var word = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// explain says in words for an operator why a call failed. version is that of
// the key, "" if none is named.
func (k *Keeper) explain(op, version string, err error) error {
	e := &drover.Error{Op: op, Kind: drover.Denied}
	var answer *azcore.ResponseError
	var refused *azidentity.AuthenticationFailedError
	var nobody interface{ NonRetriable() }
	var call *url.Error
	switch {
	case errors.Is(err, errResource):
		e.Err, e.Hint = errResource, "is that the vault's own address? If it is one of a private cloud, name what its tokens are for: vault: key_vault: resource:"
	case errors.As(err, &refused): // its text quotes the whole answer
		e.Code = aadsts.FindString(refused.Error())
		e.Err = fmt.Errorf("no token for the vault from Entra%s", inBrackets(e.Code))
		e.Hint = "look up the code in docs/entra.md; client_id, tenant and certificate under vault: key_vault: must be those of an application or identity that has a role on the vault"
		if refused.RawResponse != nil && (refused.RawResponse.StatusCode == http.StatusTooManyRequests || refused.RawResponse.StatusCode >= 500) {
			e.Kind = drover.Transient
		}
	case errors.As(err, &answer):
		k.refusal(e, version, answer)
	case errors.As(err, &call):
		e.Kind, e.Err = drover.Transient, fmt.Errorf("the vault cannot be reached: %w", call.Err)
		e.Hint = "drover goes on by itself when it answers; may this machine connect to " + k.opt.URL + " and to the sign-in host (firewall, proxy)?"
	case errors.As(err, &nobody):
		e.Err = errors.New("this machine has no such identity")
		e.Hint = "assign the managed identity to this machine or set up workload identity (AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE), or sign in by certificate: vault: key_vault: sign_in:"
	default:
		e.Kind, e.Err, e.Hint = drover.Transient, err, "try again later; drover run does it by itself"
	}
	return e
}

func inBrackets(code string) string {
	if code == "" {
		return ""
	}
	return " (" + code + ")"
}

// refusal reads an answer of the vault's.
func (k *Keeper) refusal(e *drover.Error, version string, answer *azcore.ResponseError) {
	var body struct {
		Error struct {
			InnerError struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if answer.RawResponse != nil {
		if text, err := runtime.Payload(answer.RawResponse); err == nil {
			_ = json.Unmarshal(text, &body) // a page instead of an answer has no code
		}
	}
	for _, code := range []string{body.Error.InnerError.Code, answer.ErrorCode} {
		if word.MatchString(code) {
			e.Code = code
			break
		}
	}
	e.Err = fmt.Errorf("the vault answers %d%s", answer.StatusCode, inBrackets(e.Code))
	name := k.opt.Key
	if version != "" {
		name += ", version " + version
	}
	switch s := answer.StatusCode; {
	case e.Code == "KeyDisabled":
		e.Hint = "the key " + name + " is disabled in the vault: enable it again; nothing in the ledger can be read before"
	case e.Code == "ForbiddenByFirewall", e.Code == "ForbiddenByConnection":
		e.Hint = "the vault's network rules refuse this machine: allow its address, or give it a private endpoint"
	case s == http.StatusForbidden:
		e.Hint = "the identity needs get, wrapKey and unwrapKey on the key: give it the role Key Vault Crypto Service Encryption User on " + name
	case s == http.StatusNotFound:
		e.Hint = "the vault has no key " + name + "; if it was deleted, recover it (az keyvault key recover) before it is purged: nothing in the ledger can be read without it"
	case s == http.StatusUnauthorized:
		e.Hint = "the vault takes no token of this directory: tenant under vault: key_vault: must be the vault's own directory"
	case s == http.StatusTooManyRequests:
		e.Kind, e.Wait, e.Hint = drover.Throttled, retryAfter(answer.RawResponse), "the vault is asked too often, by whomever; try again later, drover run does it by itself"
	case s >= 500 || s == http.StatusRequestTimeout:
		e.Kind, e.Hint = drover.Transient, "try again later; drover run does it by itself"
	default:
		e.Hint = "is the key of the kind that " + k.opt.Algorithm + " is for (RSA for RSA-OAEP-256, oct-HSM for A256KW), and are wrapKey and unwrapKey among its permitted operations?"
	}
}

// retryAfter reads the header, an hour at most.
func retryAfter(res *http.Response) time.Duration {
	if res == nil {
		return 0
	}
	n, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, time.Hour)
}
