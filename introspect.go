package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// zitadelTimeout limits an introspection as a whole, and each dial and TLS handshake.
const zitadelTimeout = 5 * time.Second

// An introspectFunc returns the claims of an access token. The claims say whether the token is
// active; an error means that this could not be found out.
type introspectFunc func(ctx context.Context, token string) (claims, error)

// claims holds those claims of an access token that the API uses (RFC 7662 §2.2).
type claims struct {
	Active  bool
	Expires time.Time // zero if the token does not expire
	Subject string    // the ID of the user

	// The roles that the user has in the project of the API: role → ID of an organization that
	// assigned it → domain of that organization. Requests may share the map: do not modify it.
	Roles map[string]map[string]string
}

// valid reports whether the token is active and has not expired (a cached one may have).
func (c claims) valid() bool {
	return c.Active && (c.Expires.IsZero() || time.Now().Before(c.Expires))
}

// A zitadelClient calls the introspection endpoint of a ZITADEL instance.
type zitadelClient struct {
	httpClient             *http.Client
	endpoint               string
	clientID, clientSecret string
}

// newZitadelClient returns a client of the ZITADEL instance at a URL. It authenticates with the
// client ID and the client secret, by HTTP Basic authentication (client_secret_basic).
func newZitadelClient(instance *url.URL, clientID, clientSecret string) *zitadelClient {
	return &zitadelClient{
		httpClient: &http.Client{
			Timeout: zitadelTimeout,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment,
				// A dial can outlive the request that began it, so it has timeouts of its own. A DialContext
				// also keeps net/http to HTTP/1.1: one broken HTTP/2 connection could hold up all requests.
				DialContext:         (&net.Dialer{Timeout: zitadelTimeout}).DialContext,
				TLSHandshakeTimeout: zitadelTimeout,
				// In effect no limit. The default, 2, would close most connections under load.
				MaxIdleConnsPerHost: 10_000,
				IdleConnTimeout:     90 * time.Second,
			},
			// Redirects are not followed: they could send the token to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		endpoint:     instance.JoinPath("/oauth/v2/introspect").String(),
		clientID:     clientID,
		clientSecret: clientSecret,
	}
}

// introspect returns the claims of an access token (RFC 7662). It is an introspectFunc.
func (z *zitadelClient) introspect(ctx context.Context, token string) (claims, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, "POST", z.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return claims{}, err
	}
	// The client ID and the client secret are form-encoded first (RFC 6749 §2.3.1).
	req.SetBasicAuth(url.QueryEscape(z.clientID), url.QueryEscape(z.clientSecret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	// If ZITADEL closes an idle connection just as a request is sent on it, net/http sends the request
	// again on another one, but a POST only if it has this header. (Since its value is nil, the header
	// itself is not sent: see http.Transport.)
	req.Header["Idempotency-Key"] = nil

	resp, err := z.httpClient.Do(req)
	if err != nil {
		return claims{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return claims{}, fmt.Errorf("status %s: %s", resp.Status, statusHint(resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // a cut-off body fails to parse
	if err != nil {
		return claims{}, fmt.Errorf("reading the response: %w", err)
	}
	return parseClaims(body)
}

// statusHint says what to check. (ZITADEL v4 responds with 400 to a wrong client secret.)
func statusHint(status int) string {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized:
		return "check CLIENT_ID and CLIENT_SECRET, and that the application, its project and " +
			"its organization are active"
	case http.StatusNotFound:
		return "no ZITADEL instance answers at ZITADEL_DOMAIN, which must be the instance's own " +
			"host name and port (localhost and 127.0.0.1 differ)"
	case http.StatusTooManyRequests:
		return "ZITADEL limits the rate, see INTROSPECTION_CACHE_TTL"
	}
	return "check ZITADEL_DOMAIN, and that ZITADEL is healthy"
}

// parseClaims returns the claims in the body of an introspection response.
//
// It decodes into a map because a struct would ignore the case of names. By a ZITADEL Action, an
// organization's owner can add claims to the tokens of its users. ZITADEL refuses the names below,
// but not the same names in upper case, which a struct would accept.
//
// Do not decide about access by other claims, nor by an organization's domain: its owner sets that.
func parseClaims(body []byte) (claims, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return claims{}, fmt.Errorf("the response is not a JSON object of at most 1 MiB: %w", err)
	}
	var c claims
	var exp float64 // seconds since the epoch; a fraction is dropped
	for name, destination := range map[string]any{
		"active":                            &c.Active,
		"exp":                               &exp,
		"sub":                               &c.Subject,
		"urn:zitadel:iam:org:project:roles": &c.Roles,
	} {
		value, ok := members[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(value, destination); err != nil {
			return claims{}, fmt.Errorf("%s in the response: %w", name, err)
		}
	}
	if _, ok := members["active"]; !ok {
		return claims{}, errors.New("the response does not say whether the token is active")
	}
	if _, ok := members["exp"]; ok { // not exp != 0: a token with exp 0 has expired
		c.Expires = time.Unix(int64(exp), 0)
	}
	return c, nil
}
