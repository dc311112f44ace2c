package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const introspectTimeout = 5 * time.Second // for the whole exchange with ZITADEL

// introspectFunc returns the claims of an access token. The error contains no secret.
type introspectFunc func(ctx context.Context, token string) (claims, error)

// claims is what ZITADEL reports about an access token (RFC 7662 §2.2). To read one more claim,
// add a field: Username string `json:"username"`. Do not modify claims: requests may share them.
type claims struct {
	Subject string                     `json:"sub"`                               // the user's ID
	Roles   map[string]json.RawMessage `json:"urn:zitadel:iam:org:project:roles"` // by role name
	active  bool
	expires time.Time // far in the future if the token does not expire
}

// newIntrospect returns a function that introspects tokens at a ZITADEL instance.
func newIntrospect(instanceURL, clientID, clientSecret string) introspectFunc {
	// Load the system roots now: crypto/x509 tries only once, and fails without file descriptors.
	_, _ = x509.SystemCertPool()
	checkProxy := func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode != http.StatusOK { // net/http's own error lacks the status
			return &net.OpError{Op: "proxyconnect", Err: fmt.Errorf("status %d", resp.StatusCode)}
		}
		return nil
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkProxy,
		// A timed-out request keeps connecting in the background. These two limit how long.
		DialContext:            (&net.Dialer{Timeout: introspectTimeout}).DialContext,
		TLSHandshakeTimeout:    introspectTimeout,
		MaxIdleConnsPerHost:    10_000, // keep one for each concurrent caller; the default is 2
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true, // responses are small
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true, // setting DialContext turns it off
		// Ping an HTTP/2 connection that has gone silent, and close it if there is no answer.
		HTTP2: &http.HTTP2Config{SendPingTimeout: introspectTimeout, PingTimeout: introspectTimeout},
	}
	endpoint := strings.TrimSuffix(instanceURL, "/") + "/oauth/v2/introspect"
	id, secret := url.QueryEscape(clientID), url.QueryEscape(clientSecret) // RFC 6749 §2.3.1
	return func(ctx context.Context, token string) (claims, error) {
		ctx, cancel := context.WithTimeout(ctx, introspectTimeout)
		defer cancel()
		form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
		req, err := http.NewRequestWithContext(ctx, "POST", endpoint, strings.NewReader(form))
		if err != nil {
			return claims{}, err
		}
		req.SetBasicAuth(id, secret)
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		// With this key, net/http retries the request if the server closed a kept-alive connection
		// just as it was reused. A key without values is not sent.
		req.Header["Idempotency-Key"] = nil
		// RoundTrip does not follow redirects. After a 307, http.Client would send the token again.
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return claims{}, transportError(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusSwitchingProtocols { // reading the body would not time out
			return claims{}, statusError(resp.StatusCode, nil)
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20+1))
		switch {
		case resp.StatusCode != http.StatusOK:
			return claims{}, statusError(resp.StatusCode, body)
		case err != nil:
			return claims{}, transportError(err)
		case len(body) > 1<<20:
			return claims{}, errors.New("the response is longer than 1 MiB: check ZITADEL_DOMAIN")
		}
		return parseClaims(body)
	}
}

// parseClaims returns the claims in the body of a response. Its errors do not quote the body.
func parseClaims(body []byte) (claims, error) {
	const year9999 = 253_402_300_799 // in seconds; limits exp, which can exceed an int64
	resp := struct {
		// encoding/json matches a member to the field with exactly its name, or else to the first
		// field whose name differs only in case. The fields in upper case come first and are not
		// used, so that "Active" is ignored. Claims that decide about access need one each.
		ACTIVE, EXP, SUB json.RawMessage
		ROLES            json.RawMessage `json:"URN:ZITADEL:IAM:ORG:PROJECT:ROLES"`
		Active           *bool           `json:"active"`
		Exp              float64         `json:"exp"` // seconds since the epoch
		claims
	}{Exp: year9999}
	if json.Unmarshal(body, &resp) != nil {
		return claims{}, errors.New("not an introspection response: check ZITADEL_DOMAIN")
	}
	if resp.Active == nil { // RFC 7662 §2.2 requires it
		return claims{}, errors.New("the response has no member active: check ZITADEL_DOMAIN")
	}
	resp.active = *resp.Active
	resp.expires = time.UnixMilli(int64(1000 * min(max(resp.Exp, 0), year9999)))
	return resp.claims, nil
}

// statusError says what a status other than 200 means. It does not quote the body.
func statusError(status int, body []byte) error {
	var oauth struct{ Error string }
	_ = json.Unmarshal(body, &oauth) // the body need not be JSON
	hint := "check ZITADEL_DOMAIN (http or https?) and that ZITADEL is healthy"
	switch {
	case status == http.StatusUnauthorized,
		oauth.Error == "unauthorized_client", oauth.Error == "invalid_client":
		hint = "ZITADEL rejected the client credentials: check CLIENT_ID and CLIENT_SECRET, " +
			"and that the application is active"
	case status == http.StatusNotFound:
		hint = "no ZITADEL instance answers there: check ZITADEL_DOMAIN, port included"
	case status == http.StatusTooManyRequests:
		hint = "ZITADEL limits the rate: set or raise INTROSPECTION_CACHE_TTL"
	}
	return fmt.Errorf("status %d %s: %s", status, http.StatusText(status), hint)
}

// transportError says why there is no response. It quotes only errors that cannot contain part of
// ZITADEL's response, and at most 300 characters: a certificate can name thousands of hosts.
func transportError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no response within %s (timeout): check ZITADEL_DOMAIN", introspectTimeout)
	case errors.As(err, new(*net.OpError)), errors.As(err, new(*tls.CertificateVerificationError)),
		errors.As(err, new(tls.RecordHeaderError)),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%.300s: check ZITADEL_DOMAIN (http or https?) and SSL_CERT_FILE", err)
	}
	return errors.New("connection lost or invalid HTTP: check ZITADEL_DOMAIN (http or https?)")
}

// cached returns introspect with a cache that keeps the claims of an active token until they
// expire, but not longer than ttl from the request. Concurrent calls for a token share a request.
func cached(introspect introspectFunc, ttl time.Duration) introspectFunc {
	type entry struct {
		claims claims
		err    error
		until  time.Time
		done   chan struct{} // closed when the other fields are set
	}
	var mu sync.Mutex
	entries := make(map[[sha256.Size]byte]*entry) // by hash, so that no token is kept
	pending := make(map[[sha256.Size]byte]*entry)
	return func(ctx context.Context, token string) (claims, error) {
		key := sha256.Sum256([]byte(token))
		mu.Lock()
		e, ok := entries[key]
		if !ok || !time.Now().Before(e.until) {
			e, ok = pending[key]
		}
		if !ok {
			e = &entry{done: make(chan struct{})}
			pending[key] = e
			go func() { // not canceled with ctx: other callers may be waiting
				start := time.Now() // monotonic: setting the clock has no effect
				e.claims, e.err = introspect(context.WithoutCancel(ctx), token)
				e.until = start.Add(min(ttl, e.claims.expires.Sub(start)))
				mu.Lock()
				defer mu.Unlock()
				if e.err == nil && e.claims.active {
					for other := range entries {
						if len(entries) < 10_000 {
							break
						}
						delete(entries, other) // full: evict any entry
					}
					entries[key] = e
				}
				delete(pending, key)
				close(e.done)
			}()
		}
		mu.Unlock()
		select {
		case <-e.done:
			return e.claims, e.err
		case <-ctx.Done():
			return claims{}, ctx.Err()
		}
	}
}
