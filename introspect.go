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

// claims holds what ZITADEL reports about an access token (RFC 7662 §2.2). Requests with the same
// token may share Roles: do not modify it.
type claims struct {
	Active  bool
	Expires time.Time      // zero if the token does not expire
	Subject string         // the user's ID, for your handlers
	Roles   map[string]any // the keys are the user's roles, the values say who granted them
}

// expired reports whether the token has expired.
func (c claims) expired() bool {
	return !c.Expires.IsZero() && !time.Now().Before(c.Expires)
}

// A zitadelClient calls the introspection endpoint of a ZITADEL instance.
type zitadelClient struct {
	http                   *http.Client
	endpoint               string
	clientID, clientSecret string
}

// newZitadelClient returns a client of the ZITADEL instance at a URL. It authenticates with Client
// Secret Basic.
func newZitadelClient(instance *url.URL, clientID, clientSecret string) *zitadelClient {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	transport := &http.Transport{
		Proxy:     http.ProxyFromEnvironment,
		Protocols: http1, // not HTTP/2: see the retry in introspect
		// net/http goes on dialing when a request has timed out, for the next one. These two limit
		// that. (A proxy has a minute to respond to CONNECT.)
		DialContext:         (&net.Dialer{Timeout: zitadelTimeout}).DialContext,
		TLSHandshakeTimeout: zitadelTimeout,
		// Keep all connections alive. The default, 2, makes most requests of a burst dial.
		MaxIdleConnsPerHost: 10_000,
		IdleConnTimeout:     90 * time.Second,
	}
	return &zitadelClient{
		http: &http.Client{
			Transport: transport,
			// Do not follow redirects, which could send the token to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		endpoint:     instance.JoinPath("/oauth/v2/introspect").String(),
		clientID:     clientID,
		clientSecret: clientSecret,
	}
}

// introspect returns the claims of an access token (RFC 7662). It is an introspectFunc.
//
// ZITADEL checks the issuer and the audience: it reports a token as inactive that was issued for
// other projects only. A personal access token is valid for every project.
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
	// ZITADEL may close an idle connection just as it is used again. Then http.Transport retries a
	// request that has an Idempotency-Key; without a value, it "is not sent on the wire". Over
	// HTTP/2 it does not retry in every such case.
	req.Header["Idempotency-Key"] = nil

	resp, err := z.http.Do(req)
	if err != nil {
		return claims{}, err
	}
	defer resp.Body.Close()
	// The body of some responses, such as 101, does not end. So the status comes first.
	if resp.StatusCode != http.StatusOK {
		return claims{}, fmt.Errorf("status %s: %s", resp.Status, statusHint(resp.StatusCode))
	}
	const maxBody = 1 << 20 // bytes; JSON that is cut off there cannot be parsed
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
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
// The owner of any organization can add claims to the tokens of its users by a ZITADEL Action, for
// example URN:ZITADEL:IAM:ORG:PROJECT:ROLES or username. Hence two rules:
//   - Look the names up in a map, which compares them exactly. encoding/json matches names to the
//     fields of a struct without regard to case, and would take the first example for the roles.
//   - Decide by active, exp, sub, iss, aud and urn:zitadel:iam:… only. ZITADEL does not let an
//     Action set these.
func parseClaims(body []byte) (claims, error) {
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return claims{}, fmt.Errorf("the response is not a JSON object: %w", err)
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
