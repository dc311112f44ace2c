package main

import (
	"bufio"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const callers = 64

// zitadel serves the recorded answer about a user with the role, until it is interrupted.
func zitadel() {
	body := recordedBody("role")
	serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
}

// floor serves the least that an API can do: on the public route, write an answer; on others,
// one POST over a pool of connections, the same as the API's, and one json.Unmarshal. The API
// is measured against it.
func floor() { serve(floorHandler(os.Getenv("ZITADEL_DOMAIN"))) }

func floorHandler(domain string) http.Handler {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/public", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"message":"Public route"}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		request, _ := http.NewRequest("POST", domain+"/oauth/v2/introspect",
			strings.NewReader("token="+token+"&token_type_hint=access_token"))
		request.Header.Set("Accept", "application/json")
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.SetBasicAuth("id", "secret")
		resp, err := client.Do(request)
		if err != nil {
			http.Error(w, "no answer", http.StatusBadGateway)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var answer struct{ Active bool }
		if json.Unmarshal(body, &answer) != nil || !answer.Active {
			http.Error(w, "not active", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"message":"Private route"}`)
	})
	return mux
}

func serve(handler http.Handler) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stderr, "msg=ready url=http://"+listener.Addr().String())
	go func() { _ = http.Serve(listener, handler) }()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	<-interrupted
	os.Exit(0)
}

// BenchmarkRatio measures each route and the floor in turn, as processes of their own, with
// 64 callers, and reports medians of their ratios.
func BenchmarkRatio(b *testing.B) {
	instance := start(b, "zitadel").url
	for _, bench := range []struct{ name, path, ttl string }{
		{"public", "/api/public", "0"}, // beside the floor's public route
		{"private", "/api/private", "0"},
		{"scoped", "/api/private-scoped", "0"},
		{"cached", "/api/private-scoped", "1h"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			api := startLogging(b, "api", apiEnv(b, instance, "INTROSPECTION_CACHE_TTL="+bench.ttl)...)
			least := startLogging(b, "floor", "ZITADEL_DOMAIN="+instance)
			public := startLogging(b, "api", apiEnv(b, instance)...)
			const requests = 200 * callers
			call(b, api.url+bench.path, requests) // connections, heaps and schedulers warm up
			call(b, least.url+bench.path, requests)
			call(b, public.url+"/api/public", requests)

			var toFloor, toPublic []float64
			for b.Loop() {
				took := call(b, api.url+bench.path, requests)
				toFloor = append(toFloor, call(b, least.url+bench.path, requests)/took)
				toPublic = append(toPublic, call(b, public.url+"/api/public", requests)/took)
			}
			b.ReportMetric(median(toFloor), "throughput/floor")
			b.ReportMetric(median(toPublic), "throughput/public")
			b.ReportMetric(cpu(b, api)/cpu(b, least), "cpu/floor")
			b.ReportMetric(0, "ns/op") // an op is a round of all of them
		})
	}
}

// startLogging is start for a process that logs into a file, as a service does.
func startLogging(b *testing.B, role string, env ...string) *process {
	b.Helper()
	binary, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	p := launch(b, binary, role, log, env...)
	eventually(b, func() string {
		text, _ := os.ReadFile(log.Name())
		if match := regexp.MustCompile(`msg=ready url=(\S+)`).FindSubmatch(text); match != nil {
			p.url = string(match[1])
			return ""
		}
		return "got no word that it is ready: " + string(text)
	})
	return p
}

// call sends requests GET requests with a token from 64 callers, each on a connection of
// its own, and returns the seconds it took.
func call(b *testing.B, url string, requests int) float64 {
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	request := "GET /" + path + " HTTP/1.1\r\nHost: " + host +
		"\r\nAuthorization: Bearer " + strings.Repeat("token", 30) + "\r\n\r\n"
	var wg sync.WaitGroup
	began := time.Now()
	for range callers {
		wg.Go(func() {
			conn, err := net.Dial("tcp", host)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			answers := bufio.NewReader(conn)
			for range requests / callers {
				_, _ = io.WriteString(conn, request)
				resp, err := http.ReadResponse(answers, nil)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Errorf("got %v, %v, want status 200", resp, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
			}
		})
	}
	wg.Wait()
	return time.Since(began).Seconds()
}

// cpu ends the process and returns the seconds of CPU time that it used.
func cpu(b *testing.B, p *process) float64 {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
	return (p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Seconds()
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkRequest measures one request after another through each route and the floor,
// for the allocations, those of the connection to ZITADEL included.
func BenchmarkRequest(b *testing.B) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	instance := start(b, "zitadel").url
	domain, err := url.Parse(instance)
	if err != nil {
		b.Fatal(err)
	}
	introspect := newIntrospect(domain, "id", "secret")
	for _, bench := range []struct {
		name, path string
		handler    http.Handler
	}{
		{"public", "/api/public", newAPI(introspect)},
		{"private", "/api/private", newAPI(introspect)},
		{"scoped", "/api/private-scoped", newAPI(introspect)},
		{"cached", "/api/private-scoped", newAPI(cached(introspect, time.Hour))},
		{"floor", "/api/private", floorHandler(instance)},
		{"public floor", "/api/public", floorHandler(instance)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := httptest.NewRequest("GET", bench.path, nil)
			r.Header.Set("Authorization", "Bearer "+strings.Repeat("token", 30))
			b.ReportAllocs()
			for b.Loop() {
				bench.handler.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}

//go:embed testdata
var testdata embed.FS

// recordedBody returns the body of a recorded answer.
func recordedBody(name string) []byte {
	file, err := testdata.Open("testdata/" + name + ".http")
	if err != nil {
		panic(err)
	}
	defer file.Close()
	resp, err := http.ReadResponse(bufio.NewReader(file), nil)
	if err != nil {
		panic(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	return body
}
