package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const timeout = 5 * time.Second // of one exchange with ZITADEL, as a whole

// introspectFunc asks ZITADEL about an access token. Its error is fit for the log: no token in it.
type introspectFunc func(ctx context.Context, token string) (claims, error)

// claims is what ZITADEL says about an access token (RFC 7662 §2.2).
type claims struct {
	active  bool
	exp     float64                    // seconds since the epoch, +Inf if the token has none
	subject string                     // the user's ID
	roles   map[string]json.RawMessage // by name, with organisations; read only, a cache shares it
}

// now returns the seconds since the epoch, by the clock of this machine.
func now() float64 { return float64(time.Now().UnixMilli()) / 1000 }

// newIntrospect returns what asks the instance at domain, authenticated by Client Secret Basic.
func newIntrospect(domain *url.URL, clientID, clientSecret string) introspectFunc {
	// RFC 6749 §2.3.1: each is form-encoded before both go into Basic.
	credentials := url.QueryEscape(clientID) + ":" + url.QueryEscape(clientSecret)
	header := http.Header{
		"Accept":        {"application/json"},
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))},
		"Content-Type":  {"application/x-www-form-urlencoded"},
		// Not sent, being empty, but lets net/http repeat the POST if a kept-alive connection ends.
		"Idempotency-Key": {},
	}
	endpoint := domain.JoinPath("/oauth/v2/introspect").String()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 1<<20 // keep them all
	transport.DisableCompression = true                              // an answer is small
	// A connection that isn't made in time, or that falls silent later, is given up.
	transport.DialContext = (&net.Dialer{Timeout: timeout}).DialContext
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: timeout, PingTimeout: timeout}

	return func(ctx context.Context, token string) (claims, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		form := strings.NewReader("token=" + url.QueryEscape(token) + "&token_type_hint=access_token")
		request, _ := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, form)
		request.Header = header
		// An http.Client would follow redirects, and so carry the token elsewhere.
		response, err := transport.RoundTrip(request)
		if err != nil {
			return claims{}, explain(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20+1))
		switch {
		case response.StatusCode != http.StatusOK:
			return claims{}, explainStatus(response.StatusCode, body)
		case err != nil:
			return claims{}, explain(err)
		}
		return parseAnswer(body)
	}
}

// parseAnswer returns the claims in the body of an answer with status 200.
func parseAnswer(body []byte) (claims, error) {
	var answer *struct {
		// encoding/json ignores case where no name is equal: "Active" would count without these.
		ACTIVE, EXP, SUB json.RawMessage
		ROLES            json.RawMessage            `json:"URN:ZITADEL:IAM:ORG:PROJECT:ROLES"`
		Active           json.RawMessage            `json:"active"`
		Exp              json.RawMessage            `json:"exp"`
		Sub              string                     `json:"sub"`
		Roles            map[string]json.RawMessage `json:"urn:zitadel:iam:org:project:roles"`
	}
	err := json.Unmarshal(body, &answer)
	// Sub or roles of another type name nobody and nothing; without Field, it is the whole answer.
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && mismatch.Field != "" {
		err = nil
	}
	if err != nil || answer == nil || len(body) > 1<<20 {
		return claims{}, errors.New("not one JSON object of at most 1 MiB: check ZITADEL_DOMAIN")
	}
	active, exp := string(answer.Active), string(answer.Exp)
	if exp == "" || exp == "null" {
		exp = "+Inf"
	}
	seconds, err := strconv.ParseFloat(exp, 64)
	number := err == nil || errors.Is(err, strconv.ErrRange) // out of range it is ±Inf
	if !number || active != "true" && active != "false" && active != "" {
		return claims{}, errors.New("active is not a boolean, or exp no number: check ZITADEL_DOMAIN")
	}
	return claims{active == "true", seconds, answer.Sub, answer.Roles}, nil
}

// explainStatus says what a status other than 200 means. It repeats nothing of the body.
func explainStatus(status int, body []byte) error {
	var answer struct{ Error string }
	_ = json.Unmarshal(body, &answer)
	hint := "check ZITADEL_DOMAIN, also for http or https, and whether ZITADEL is well"
	switch {
	case status == 401, answer.Error == "unauthorized_client", answer.Error == "invalid_client":
		hint = "ZITADEL rejected the client credentials, check CLIENT_ID and CLIENT_SECRET, " +
			"and that the application is active"
	case status == 404:
		hint = "no ZITADEL instance answers there, check ZITADEL_DOMAIN: its own host name and port"
	case status == 429:
		hint = "ZITADEL limits the rate, see INTROSPECTION_CACHE_TTL"
	}
	return fmt.Errorf("status %d %s: %s", status, http.StatusText(status), hint)
}

// explain says why no whole answer came. It repeats no error that can quote the answer.
func explain(err error) error {
	netErr, network := errors.AsType[net.Error](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case network && netErr.Timeout():
		return fmt.Errorf("no whole answer within %s: check ZITADEL_DOMAIN", timeout)
	case network || untrusted:
		return fmt.Errorf("%w: check ZITADEL_DOMAIN, and SSL_CERT_FILE for a private CA", err)
	}
	return errors.New("no whole HTTP answer: check ZITADEL_DOMAIN, also for http or https")
}

// cached returns introspect with a memory: a positive answer counts for ttl, or until exp.
// In a full cache, the answer whose time ends first makes room for another.
func cached(introspect introspectFunc, ttl time.Duration) introspectFunc {
	type entry struct {
		claims
		until float64 // seconds since the epoch
	}
	var mu sync.Mutex
	entries := make(map[[sha256.Size]byte]entry) // by the token's hash: no token is kept
	return func(ctx context.Context, token string) (claims, error) {
		key, asked := sha256.Sum256([]byte(token)), now()
		mu.Lock()
		e, ok := entries[key]
		mu.Unlock()
		if ok && asked < e.until {
			return e.claims, nil
		}
		c, err := introspect(ctx, token)
		if err != nil || !c.active {
			return c, err
		}
		mu.Lock()
		defer mu.Unlock()
		if len(entries) >= 10_000 {
			first, end := key, math.Inf(1)
			for k, old := range entries {
				if old.until < end {
					first, end = k, old.until
				}
			}
			delete(entries, first)
		}
		entries[key] = entry{c, min(asked+ttl.Seconds(), c.exp)}
		return c, nil
	}
}
