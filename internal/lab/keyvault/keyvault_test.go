package keyvault

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestA256KWIsThatOfTheRFC uses the vector of RFC 3394 §4.6.
func TestA256KWIsThatOfTheRFC(t *testing.T) {
	un := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key, plain := un("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), un("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
	want := un("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")
	got, err := wrapAES(key, plain)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("wrapped to %x, %v", got, err)
	}
	if back, err := unwrapAES(key, want); err != nil || !bytes.Equal(back, plain) {
		t.Errorf("unwrapped to %x, %v", back, err)
	}
	want[5] ^= 1
	if _, err := unwrapAES(key, want); err == nil {
		t.Error("a changed value was unwrapped")
	}
}

func TestOnlyWhoMayIsAnswered(t *testing.T) {
	v := New(Options{Clock: time.Now, Tenant: "home", App: "app", Verify: func(raw string) (Caller, error) {
		parts := strings.Split(raw, ",")
		if len(parts) != 3 {
			return Caller{}, errors.New("no token")
		}
		return Caller{parts[0], parts[1], parts[2]}, nil
	}})
	const good = "home,app," + Audience
	ask := func(token, method, path string, body any) (int, http.Header, map[string]any) {
		b, _ := json.Marshal(body)
		r := httptest.NewRequest(method, "https://x.vault.azure.net"+path+"?api-version=2025-07-01", bytes.NewReader(b))
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		v.ServeHTTP(w, r)
		var out map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &out)
		return w.Code, w.Header(), out
	}
	for token, want := range map[string]int{"": 401, "junk": 401, "home,app,https://graph.microsoft.com": 401, "other,app," + Audience: 401, "home,stranger," + Audience: 403, good: 200} {
		status, head, _ := ask(token, "GET", "/keys/"+RSAKey+"/", nil)
		if status != want || (status == 401) != strings.Contains(head.Get("WWW-Authenticate"), `resource="`+Audience+`"`) {
			t.Errorf("%q: status %d, %v", token, status, head)
		}
	}
	value := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	wrap := func(name, alg, value, what string) (int, map[string]any) {
		status, _, out := ask(good, "POST", "/keys/"+name+"//"+what, map[string]string{"alg": alg, "value": value})
		return status, out
	}
	for name, alg := range map[string]string{RSAKey: "RSA-OAEP-256", AESKey: "A256KW"} {
		status, out := wrap(name, alg, value, "wrapkey")
		if status != 200 || out["kid"] != "https://x.vault.azure.net/keys/"+name+"/"+v.Newest() {
			t.Errorf("%s: %d %v", name, status, out)
		}
		if _, out = wrap(name, alg, out["value"].(string), "unwrapkey"); out["value"] != value {
			t.Errorf("%s: back: %v", name, out)
		}
		if status, _ := wrap(name, "RSA1_5", value, "wrapkey"); status != 400 {
			t.Errorf("%s by another algorithm: %d", name, status)
		}
	}
	for refuse, want := range map[string]int{"forbidden": 403, "firewall": 403, "disabled": 403, "gone": 404, "throttled": 429, "broken": 500} {
		v.Set(State{Refuse: refuse, RetryAfter: "7"})
		status, head, _ := ask(good, "POST", "/keys/"+RSAKey+"//wrapkey", map[string]string{"alg": "RSA-OAEP-256", "value": value})
		if status != want || (head.Get("Retry-After") == "7") != (status == 429) {
			t.Errorf("%s: %d %v", refuse, status, head)
		}
	}
}
