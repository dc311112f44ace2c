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

const timeout = 5 * time.Second // of one exchange with ZITADEL

// introspectFunc returns the claims of an access token. Its error is fit for the log.
type introspectFunc func(ctx context.Context, token string) (claims, error)

// claims is what ZITADEL reports about an access token (RFC 7662 §2.2). For one more claim, add
// a field: Username string `json:"username"`
type claims struct {
	Subject string                     `json:"sub"`                               // the user's ID
	Roles   map[string]json.RawMessage `json:"urn:zitadel:iam:org:project:roles"` // by name
	active  bool
	expires time.Time // far in the future if the token does not expire
}

// newIntrospect returns a function that introspects tokens at the instance with the URL domain.
func newIntrospect(domain, clientID, clientSecret string) introspectFunc {
	// Load the CA certificates now. If that failed later, in a flood of connections that uses
	// up the file descriptors, crypto/x509 would not try again.
	_, _ = x509.SystemCertPool()
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		OnProxyConnectResponse: func(
			_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response,
		) error {
			if resp.StatusCode != http.StatusOK { // the error of net/http would not have the status
				return &net.OpError{Op: "proxyconnect", Err: fmt.Errorf("status %d", resp.StatusCode)}
			}
			return nil
		},
		// net/http goes on connecting after a request has timed out. These two end that.
		DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
		TLSHandshakeTimeout:    timeout,
		MaxIdleConnsPerHost:    10_000, // one for each of many callers; the default is 2
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true, // in spite of DialContext
		// Ping a silent HTTP/2 connection, and close it if no answer comes.
		HTTP2: &http.HTTP2Config{SendPingTimeout: timeout, PingTimeout: timeout},
	}
	endpoint := domain + "/oauth/v2/introspect"
	// Client Secret Basic form-encodes the two (RFC 6749 §2.3.1).
	id, secret := url.QueryEscape(clientID), url.QueryEscape(clientSecret)
	return func(ctx context.Context, token string) (claims, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		form := strings.NewReader("token=" + url.QueryEscape(token) + "&token_type_hint=access_token")
		req, err := http.NewRequestWithContext(ctx, "POST", endpoint, form)
		if err != nil {
			return claims{}, err
		}
		req.SetBasicAuth(id, secret)
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		// Not sent, since it is empty, but makes net/http try again if a kept-alive connection
		// was closed just as it was reused.
		req.Header["Idempotency-Key"] = nil
		// Unlike http.Client, RoundTrip does not follow redirects: they would get the token.
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return claims{}, transportError(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusSwitchingProtocols { // reading would not time out
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
	const year9999 = 253_402_300_799 // seconds; a Time cannot hold every number
	resp := struct {
		// encoding/json assigns a member to the field with its name or, if there is none, to the
		// first whose name differs in case only: to one of these, so that "Active" is not "active".
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

// statusError says what a status other than 200 means. It repeats nothing of the body.
func statusError(status int, body []byte) error {
	var oauth struct{ Error string }
	_ = json.Unmarshal(body, &oauth) // most bodies are not JSON
	hint := "check ZITADEL_DOMAIN, http or https included, and that ZITADEL is healthy"
	switch {
	case status == 401, oauth.Error == "unauthorized_client", oauth.Error == "invalid_client":
		hint = "ZITADEL rejected the client credentials: check CLIENT_ID and CLIENT_SECRET, " +
			"and that the application is active"
	case status == 404:
		hint = "no ZITADEL instance answers there: check ZITADEL_DOMAIN, port included"
	case status == 429:
		hint = "ZITADEL limits the rate: see INTROSPECTION_CACHE_TTL"
	}
	return fmt.Errorf("status %d %s: %s", status, http.StatusText(status), hint)
}

// transportError says why there is no response. An error about the syntax of a response quotes
// it, so only others are repeated, and no more than the beginning: a certificate can be long.
func transportError(err error) error {
	netError, isNetError := errors.AsType[net.Error](err)
	switch {
	case isNetError && netError.Timeout():
		return fmt.Errorf("no response within %s (%.300s): check ZITADEL_DOMAIN", timeout, err)
	case isNetError, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.As(err, new(*tls.CertificateVerificationError)),
		errors.As(err, new(tls.RecordHeaderError)):
		return fmt.Errorf("%.300s: check ZITADEL_DOMAIN, and SSL_CERT_FILE for a private CA", err)
	}
	return errors.New("no valid HTTP response: check ZITADEL_DOMAIN, http or https included")
}

// cached returns introspect with a cache. It keeps the claims of an active token for ttl, counted
// from the request to ZITADEL, or until they expire. Callers with the same token share a request.
func cached(introspect introspectFunc, ttl time.Duration) introspectFunc {
	type entry struct {
		claims claims
		err    error
		until  time.Time     // zero while the request is pending
		done   chan struct{} // closed when it is not
	}
	var mu sync.Mutex
	entries := make(map[[sha256.Size]byte]*entry) // by hash, so that no token is kept
	return func(ctx context.Context, token string) (claims, error) {
		key := sha256.Sum256([]byte(token))
		mu.Lock()
		e := entries[key]
		if e == nil || !e.until.IsZero() && !time.Now().Before(e.until) {
			for other := range entries {
				if len(entries) < 10_000 {
					break
				}
				delete(entries, other) // full: any entry makes room
			}
			e = &entry{done: make(chan struct{})}
			entries[key] = e
			go func() { // goes on for the others when this caller leaves
				start := time.Now()
				e.claims, e.err = introspect(context.WithoutCancel(ctx), token)
				mu.Lock()
				defer mu.Unlock()
				// Setting the clock back does not count: start has a monotonic reading.
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
