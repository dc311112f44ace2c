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

// zitadelTimeout limits an introspection, from dialing to the end of the response.
const zitadelTimeout = 5 * time.Second

// An introspectFunc returns the claims of an access token. The claims say whether the token is
// active; an error means that this could not be found out.
type introspectFunc func(ctx context.Context, token string) (claims, error)

// claims holds what ZITADEL reports about an access token (RFC 7662 §2.2).
type claims struct {
	Active  bool
	Expires time.Time // zero if the token does not expire
	Subject string    // the user's ID, which never changes

	// The user's roles in the project of the API: role → organization that granted it, by its ID →
	// domain of the organization. Requests may share this map: do not modify it.
	Roles map[string]map[string]string
}

// expired reports whether the token has expired.
func (c claims) expired() bool {
	return !c.Expires.IsZero() && !time.Now().Before(c.Expires)
}

// A zitadelClient calls the introspection endpoint of a ZITADEL instance.
type zitadelClient struct {
	httpClient             *http.Client
	endpoint               string
	clientID, clientSecret string
}

// newZitadelClient returns a client of the ZITADEL instance at a URL. It authenticates with the
// client credentials by HTTP Basic authentication (client_secret_basic).
func newZitadelClient(instance *url.URL, clientID, clientSecret string) *zitadelClient {
	return &zitadelClient{
		httpClient: &http.Client{
			Timeout: zitadelTimeout,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment,
				// A dial goes on after its request has timed out, for the next request.
				DialContext:         (&net.Dialer{Timeout: zitadelTimeout}).DialContext,
				TLSHandshakeTimeout: zitadelTimeout,
				// In effect no limit. With the default, 2, most requests of a burst would dial anew.
				MaxIdleConnsPerHost: 10_000,
				IdleConnTimeout:     90 * time.Second,
			},
			// Do not follow redirects, which could send the token to another host.
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
	// ZITADEL may close an idle connection just as a request is sent on it. With this header, which
	// is not sent since its value is nil, net/http sends the request again on another connection.
	// That needs HTTP/1.1, which net/http keeps to if the Transport has a DialContext.
	req.Header["Idempotency-Key"] = nil

	resp, err := z.httpClient.Do(req)
	if err != nil {
		return claims{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK { // checked first: the body of a 101 does not end
		return claims{}, fmt.Errorf("status %s: %s", resp.Status, statusHint(resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // JSON that is cut off is an error
	if err != nil {
		return claims{}, fmt.Errorf("reading the response: %w", err)
	}
	return parseClaims(body)
}

// statusHint says what to check after a response with a status other than 200.
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
// By a ZITADEL Action, the owner of any organization can add claims to the tokens of its users.
// ZITADEL refuses the name urn:zitadel:iam:org:project:roles, but not the same in upper case, which
// encoding/json would take for the roles when it decodes into a struct. So this decodes into a map.
//
// Authorize only by active, exp, sub, the roles and the IDs of organizations under them. An Action
// cannot set these; it can set username and many others.
func parseClaims(body []byte) (claims, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return claims{}, fmt.Errorf("the response is not a JSON object of at most 1 MiB: %w", err)
	}
	var c claims
	var exp float64 // seconds since the epoch
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
	if _, ok := members["exp"]; ok {
		c.Expires = time.Unix(int64(exp), 0)
	}
	return c, nil
}
