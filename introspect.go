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

// claims holds what ZITADEL reports about an access token (RFC 7662 §2.2). The value of each role
// is a map whose keys are the IDs of the organizations that granted it. Requests with the same
// token may share Roles: do not modify it.
type claims struct {
	Active  bool
	Expires time.Time      // zero if the token does not expire
	Subject string         // the user's ID, for your handlers
	Roles   map[string]any // the user's roles in the project of the API
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
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	transport := &http.Transport{
		Proxy:     http.ProxyFromEnvironment,
		Protocols: http1, // explicitly: HTTP/2 would spoil the retry in introspect
		// A dial goes on after its request has timed out, for the next request. These two limit it.
		// (net/http itself limits the CONNECT request to a proxy, to one minute.)
		DialContext:         (&net.Dialer{Timeout: zitadelTimeout}).DialContext,
		TLSHandshakeTimeout: zitadelTimeout,
		// In effect no limit. With the default, 2, most requests of a burst would dial anew.
		MaxIdleConnsPerHost: 10_000,
		IdleConnTimeout:     90 * time.Second,
	}
	return &zitadelClient{
		httpClient: &http.Client{
			Transport: transport,
			// Do not follow redirects, which could send the token to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		endpoint:     instance.JoinPath("/oauth/v2/introspect").String(),
		clientID:     clientID,
		clientSecret: clientSecret,
	}
}

// introspect returns the claims of an access token (RFC 7662). It can be used as an introspectFunc.
//
// ZITADEL checks the issuer and the audience: a token that was issued for other projects only is
// not active here. But personal access tokens are valid for all projects, so any user of the
// instance can have an active token. Require a role where that matters.
func (z *zitadelClient) introspect(ctx context.Context, token string) (claims, error) {
	ctx, cancel := context.WithTimeout(ctx, zitadelTimeout)
	defer cancel()
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, "POST", z.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return claims{}, err
	}
	// The client ID and the client secret are form-encoded first (RFC 6749 §2.3.1).
	req.SetBasicAuth(url.QueryEscape(z.clientID), url.QueryEscape(z.clientSecret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	// ZITADEL may close an idle connection just as a request is sent on it. http.Transport then
	// sends the request again if it has an Idempotency-Key, even one with the value nil, which is
	// not sent (see its documentation). Over HTTP/2, it would not do so in every case.
	req.Header["Idempotency-Key"] = nil

	resp, err := z.httpClient.Do(req)
	if err != nil {
		return claims{}, err
	}
	defer resp.Body.Close()
	// The body of an error is not read: that of a 101 response does not end, even with a timeout.
	if resp.StatusCode != http.StatusOK {
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
		return "no ZITADEL instance answers at ZITADEL_DOMAIN: it must be the instance's own " +
			"host name and port"
	case http.StatusTooManyRequests:
		return "ZITADEL limits the rate: see INTROSPECTION_CACHE_TTL"
	}
	return "check ZITADEL_DOMAIN, and that ZITADEL is healthy"
}

// parseClaims returns the claims in the body of an introspection response.
//
// It looks names up in a map, which compares them exactly. encoding/json would match them to the
// fields of a struct without regard to case, and so take URN:ZITADEL:IAM:ORG:PROJECT:ROLES for the
// roles. By a ZITADEL Action, the owner of any organization can add such a claim to the tokens of
// its users.
//
// An Action can set username and many other claims, too. Authorize requests only by those that it
// cannot set, as of ZITADEL 4.13: active, exp, sub, iss, aud, and all that begin with
// urn:zitadel:iam:.
func parseClaims(body []byte) (claims, error) {
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return claims{}, fmt.Errorf("the response is not a JSON object of at most 1 MiB: %w", err)
	}
	active, ok := members["active"].(bool)
	if !ok {
		return claims{}, errors.New("active in the response is not true or false")
	}
	c := claims{Active: active}
	if members["exp"] != nil {
		exp, ok := members["exp"].(float64) // seconds since the epoch
		if !ok {
			return claims{}, errors.New("exp in the response is not a number")
		}
		c.Expires = time.Unix(int64(exp), 0)
	}
	// Other claims are optional: one of another type counts as absent.
	c.Subject, _ = members["sub"].(string)
	c.Roles, _ = members["urn:zitadel:iam:org:project:roles"].(map[string]any)
	return c, nil
}
