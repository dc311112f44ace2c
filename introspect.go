package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// zitadelTimeout limits an introspection as a whole, and each dial and TLS handshake.
const zitadelTimeout = 5 * time.Second

// An introspectFunc returns the claims of an access token. The claims say whether the token is
// active; an error means that the token could not be checked.
type introspectFunc func(ctx context.Context, token string) (claims, error)

// claims holds those claims of an access token that the API uses (RFC 7662 §2.2).
type claims struct {
	Active  bool
	Expires time.Time // zero if the token does not expire
	Subject string    // the ID of the user

	// The roles of the user in the project of the API application. Roles[role] has the organizations
	// that assigned the role: ID → domain. With the cache, requests share the map: do not modify it.
	Roles map[string]map[string]string
}

// hasRole reports whether at least one organization has assigned the role to the user.
func (c claims) hasRole(role string) bool {
	return len(c.Roles[role]) > 0
}

// newZitadelClient returns an HTTP client for the requests to ZITADEL.
func newZitadelClient() *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Client{
		Timeout: zitadelTimeout,
		Transport: &http.Transport{
			Proxy:     http.ProxyFromEnvironment,
			Protocols: &protocols, // HTTP/1 only: over HTTP/2, one dead connection holds up all requests
			// A dial can go on after its request has ended, so it has timeouts of its own.
			DialContext:         (&net.Dialer{Timeout: zitadelTimeout}).DialContext,
			TLSHandshakeTimeout: zitadelTimeout,
			MaxIdleConnsPerHost: math.MaxInt, // the default, 2, would close most connections under load
			IdleConnTimeout:     90 * time.Second,
		},
		// Redirects are not followed: they could send the token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newIntrospectFunc returns a function that introspects tokens at a ZITADEL instance (RFC 7662). It
// authenticates with the ID and the secret of the API application (HTTP Basic authentication).
func newIntrospectFunc(client *http.Client, instance *url.URL, id, secret string) introspectFunc {
	endpoint := instance.JoinPath("/oauth/v2/introspect").String()
	return func(ctx context.Context, token string) (claims, error) {
		form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
		req, err := http.NewRequestWithContext(ctx, "POST", endpoint, strings.NewReader(form.Encode()))
		if err != nil {
			return claims{}, err
		}
		// The client ID and the client secret are form-encoded first (RFC 6749 §2.3.1).
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "application/json")
		// Allows net/http to send this POST again, on another connection, if ZITADEL closes an idle
		// connection just as it is used. Since the value is nil, no header is sent: see http.Transport.
		req.Header["Idempotency-Key"] = nil

		resp, err := client.Do(req)
		if err != nil {
			return claims{}, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			// Only a connection whose response has been read to the end can be reused.
			_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
			return claims{}, errors.Join(
				fmt.Errorf("status %s: %s", resp.Status, statusHint(resp.StatusCode)), err)
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return claims{}, fmt.Errorf("reading the response: %w", err)
		}
		return parseClaims(body)
	}
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
// It decodes into a map, where names are compared exactly. In a struct, a custom claim named SUB
// would be taken for sub, since encoding/json ignores case. The claims below are ZITADEL's own. Do
// not base decisions on other claims: the user's organization can set those.
func parseClaims(body []byte) (claims, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return claims{}, fmt.Errorf("the response is not a JSON object of at most 1 MiB: %w", err)
	}
	var c claims
	var active *bool
	var exp *int64 // seconds since the epoch
	err := errors.Join(
		decode(members, "active", &active),
		decode(members, "exp", &exp),
		decode(members, "sub", &c.Subject),
		decode(members, "urn:zitadel:iam:org:project:roles", &c.Roles), // absent if there are none
	)
	if err != nil {
		return claims{}, err
	}
	if active == nil {
		return claims{}, errors.New("the response does not say whether the token is active")
	}
	c.Active = *active
	if exp != nil {
		c.Expires = time.Unix(*exp, 0)
		if time.Now().Unix() >= *exp { // in case ZITADEL reports an expired token as active
			c.Active = false
		}
	}
	if c.Active && c.Subject == "" {
		return claims{}, errors.New("the response has no sub, the ID of the user, for an active token")
	}
	return c, nil
}

// decode stores the value of a member in the variable that v points to. A member that is not there
// changes nothing.
func decode(members map[string]json.RawMessage, name string, v any) error {
	if value, ok := members[name]; ok {
		if err := json.Unmarshal(value, v); err != nil {
			return fmt.Errorf("%s in the response: %w", name, err)
		}
	}
	return nil
}
