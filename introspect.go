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
	// Load the CA certificates now: crypto/x509 tries only once, and needs a free file descriptor.
	_, _ = x509.SystemCertPool()
	checkProxy := func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return &net.OpError{Op: "proxyconnect", Err: fmt.Errorf("status %d", resp.StatusCode)}
		}
		return nil
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkProxy,
		// net/http keeps connecting after a request has timed out. These two limit how long.
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
		// Unlike http.Client, RoundTrip follows no redirect, which would resend the token.
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
	const year9999 = 253_402_300_799 // in seconds; time.Time cannot hold every float64
	resp := struct {
		// encoding/json assigns a member to the field with exactly its name or, if there is none,
		// to the first field with its name in another case. These four come first and are not
		// used, so that "Active" is not taken for "active".
		ACTIVE, EXP, SUB json.RawMessage
		ROLES            json.RawMessage `json:"URN:ZITADEL:IAM:ORG:PROJECT:ROLES"`
		Active           *bool           `json:"active"`
		Exp              float64         `json:"exp"` // seconds since the epoch
		claims
	}{Exp: year9999}
	if json.Unmarshal(body, &resp) != nil {
		return claims{}, errors.New("the response is not introspection JSON: check ZITADEL_DOMAIN")
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
	hint := "check ZITADEL_DOMAIN, http or https included, and that ZITADEL is healthy"
	switch {
	case status == http.StatusUnauthorized,
		oauth.Error == "unauthorized_client", oauth.Error == "invalid_client":
		hint = "ZITADEL rejected the client credentials: check CLIENT_ID and CLIENT_SECRET, " +
			"and that the application is active"
	case status == http.StatusNotFound:
		hint = "no ZITADEL instance answers there: check ZITADEL_DOMAIN, port included"
	case status == http.StatusTooManyRequests:
		hint = "ZITADEL limits the rate: see INTROSPECTION_CACHE_TTL"
	}
	return fmt.Errorf("status %d %s: %s", status, http.StatusText(status), hint)
}

// transportError says why there is no response. It quotes only errors that cannot contain part of
// the response, and at most 300 characters: a certificate can name thousands of hosts.
func transportError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no response within %s (timeout): check ZITADEL_DOMAIN", introspectTimeout)
	case errors.As(err, new(*net.OpError)), errors.As(err, new(*tls.CertificateVerificationError)),
		errors.As(err, new(tls.RecordHeaderError)),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%.300s: check ZITADEL_DOMAIN, and SSL_CERT_FILE for a private CA", err)
	}
	return errors.New("connection lost or invalid HTTP: check ZITADEL_DOMAIN, http or https included")
}

// cached returns introspect with a cache. It keeps the claims of an active token for ttl, counted
// from the request to ZITADEL, or until they expire. Callers with the same token share a request.
func cached(introspect introspectFunc, ttl time.Duration) introspectFunc {
	type entry struct {
		claims claims
		err    error
		until  time.Time     // zero while the request is pending
		done   chan struct{} // closed when the request is done
	}
	var mu sync.Mutex
	entries := make(map[[sha256.Size]byte]*entry) // by hash, so that no token is kept
	return func(ctx context.Context, token string) (claims, error) {
		key := sha256.Sum256([]byte(token))
		mu.Lock()
		e := entries[key]
		if e == nil || !e.until.IsZero() && !time.Now().Before(e.until) {
			for other, old := range entries {
				if len(entries) < 10_000 {
					break
				}
				if !old.until.IsZero() {
					delete(entries, other) // full: evict any entry that is not pending
				}
			}
			e = &entry{done: make(chan struct{})}
			entries[key] = e
			go func() { // continues for other callers if this one leaves
				start := time.Now() // monotonic: setting the clock has no effect
				e.claims, e.err = introspect(context.WithoutCancel(ctx), token)
				mu.Lock()
				defer mu.Unlock()
				e.until = start.Add(min(ttl, e.claims.expires.Sub(start)))
				if e.err != nil || !e.claims.active {
					delete(entries, key)
				}
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
