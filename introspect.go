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

// introspectTimeout limits an introspection, from dialing to the end of the response.
const introspectTimeout = 5 * time.Second

// An introspectFunc returns the claims of an access token. An error means that nothing is known
// about the token.
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
	return !c.Expires.IsZero() && time.Until(c.Expires) <= 0
}

// An introspector calls the introspection endpoint of a ZITADEL instance.
type introspector struct {
	client                 *http.Client
	endpoint               string
	clientID, clientSecret string
}

// newIntrospector returns an introspector for the instance at domain that authenticates with
// Client Secret Basic.
func newIntrospector(domain *url.URL, clientID, clientSecret string) *introspector {
	// HTTP/1 only: over HTTP/2, net/http does not retry every request whose connection the server
	// has closed.
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &introspector{
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:     http.ProxyFromEnvironment,
				Protocols: http1,
				// A dial can outlive the request that started it. These two limit it.
				DialContext:         (&net.Dialer{Timeout: introspectTimeout}).DialContext,
				TLSHandshakeTimeout: introspectTimeout,
				MaxIdleConnsPerHost: 10_000, // in effect no limit; with the default, 2, bursts dial anew
				IdleConnTimeout:     90 * time.Second,
			},
			// Do not follow redirects, which could send the token to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		endpoint:     domain.JoinPath("/oauth/v2/introspect").String(),
		clientID:     clientID,
		clientSecret: clientSecret,
	}
}

// introspect returns the claims of an access token (RFC 7662). It is an introspectFunc.
func (i *introspector) introspect(ctx context.Context, token string) (claims, error) {
	ctx, cancel := context.WithTimeout(ctx, introspectTimeout)
	defer cancel()
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, "POST", i.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return claims{}, err
	}
	// The client ID and the client secret are form-encoded first (RFC 6749 §2.3.1).
	req.SetBasicAuth(url.QueryEscape(i.clientID), url.QueryEscape(i.clientSecret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	// Marking the request as idempotent lets http.Transport retry it if the server has closed the
	// idle connection. A header with a nil value is not sent.
	req.Header["Idempotency-Key"] = nil

	resp, err := i.client.Do(req)
	if err != nil {
		return claims{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return claims{}, fmt.Errorf("status %s: %s", resp.Status, statusHint(resp.StatusCode))
	}
	const maxBody = 1 << 20 // bytes
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return claims{}, err
	}
	if len(body) > maxBody {
		return claims{}, errors.New("the response is longer than 1 MiB")
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
// It looks names up in a map, because encoding/json matches them to struct fields without regard
// to case. With a struct, the claim URN:ZITADEL:IAM:ORG:PROJECT:ROLES, which the owner of any
// organization can add with a ZITADEL Action, would be taken for the roles.
func parseClaims(body []byte) (claims, error) {
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return claims{}, fmt.Errorf("the response is not a JSON object: %w", err)
	}
	var c claims
	active, ok := members["active"].(bool)
	if !ok {
		return claims{}, errors.New("active in the response is not true or false")
	}
	c.Active = active
	if members["exp"] != nil {
		exp, ok := members["exp"].(float64) // seconds since the epoch
		if !ok {
			return claims{}, errors.New("exp in the response is not a number")
		}
		c.Expires = time.Unix(int64(exp), 0)
	}
	c.Subject, _ = members["sub"].(string)
	c.Roles, _ = members["urn:zitadel:iam:org:project:roles"].(map[string]any)
	return c, nil
}
