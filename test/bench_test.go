package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The environment of this test binary when a benchmark starts it as another program.
const (
	roleVariable     = "EXAMPLE_API_TEST_ROLE"     // zitadel or floor
	responseVariable = "EXAMPLE_API_TEST_RESPONSE" // of the role zitadel
	timeVariable     = "EXAMPLE_API_TEST_TIME"     // per introspection, of the role zitadel
)

// runRole runs the role in the environment, if there is one, and does not return.
func runRole() {
	switch os.Getenv(roleVariable) {
	case "zitadel":
		serveZITADEL()
	case "floor":
		serveFloor()
	}
}

// serveZITADEL responds to introspections, one after the other if they take time, and reports
// their number at /count.
func serveZITADEL() {
	response := []byte(os.Getenv(responseVariable))
	perIntrospection, _ := time.ParseDuration(os.Getenv(timeVariable)) // 0 if not set
	var count atomic.Int64
	var mu sync.Mutex
	var free time.Time // when the last introspection so far ends
	http.HandleFunc("/count", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, count.Load())
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		io.Copy(io.Discard, r.Body)
		if perIntrospection > 0 {
			mu.Lock()
			if now := time.Now(); free.Before(now) {
				free = now
			}
			free = free.Add(perIntrospection)
			end := free
			mu.Unlock()
			time.Sleep(time.Until(end))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(response)
	})
	serve()
}

// serveFloor does the least that an API can do: on the public route it responds; on others it
// makes one introspection, over connections that it keeps alive, and decodes the response. The
// program is measured against it.
func serveFloor() {
	endpoint := os.Getenv("ZITADEL_DOMAIN") + "/oauth/v2/introspect"
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1_000}}
	http.HandleFunc("/api/public", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"message":"Public route"}`)
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		request, err := http.NewRequest(http.MethodPost, endpoint,
			strings.NewReader("token="+token+"&token_type_hint=access_token"))
		if err != nil {
			panic(err)
		}
		request.Header.Set("Accept", "application/json")
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.SetBasicAuth("client", clientSecret)
		response, err := client.Do(request)
		if err != nil {
			http.Error(w, "no response", http.StatusBadGateway)
			return
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		var answer struct{ Active bool }
		if json.Unmarshal(body, &answer) != nil || !answer.Active {
			http.Error(w, "not active", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"message":"Private route"}`)
	})
	serve()
}

// serve serves the handlers of http.DefaultServeMux until the process is killed.
func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stderr, "msg=ready url=http://%s\n", listener.Addr())
	panic(http.Serve(listener, nil))
}

// startRole starts this test binary in a role.
func startRole(b *testing.B, role string, env ...string) *process {
	b.Helper()
	binary, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := launch(b, exec.Command(binary), append(env, roleVariable+"="+role)...)
	p.waitReady(b)
	return p
}

// recordedResponse is the environment of a ZITADEL that responds as a real one does about a user
// with the role.
func recordedResponse(b *testing.B) string {
	b.Helper()
	file, err := os.Open("../testdata/role.http")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	response, err := http.ReadResponse(bufio.NewReader(file), nil)
	if err != nil {
		b.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	return responseVariable + "=" + string(body)
}

// benchToken is as long as the token of a real ZITADEL.
var benchToken = token + strings.Repeat("x", 138)

// BenchmarkRoutes measures each route, the floor and the public route in turn, each as a process
// with 64 callers. It reports medians of the ratios of one round.
func BenchmarkRoutes(b *testing.B) {
	z := startRole(b, "zitadel", recordedResponse(b))
	for _, row := range []struct{ name, path, ttl string }{
		{"public", "/api/public", "0"},
		{"private", "/api/private", "0"},
		{"scoped", "/api/private-scoped", "0"},
		{"cached", "/api/private-scoped", "1h"},
	} {
		b.Run(row.name, func(b *testing.B) {
			p := startProgram(b, z.url, "INTROSPECTION_CACHE_TTL="+row.ttl)
			public := startProgram(b, z.url)
			floor := startRole(b, "floor", "ZITADEL_DOMAIN="+z.url)
			p.getMany(b, row.path) // warms up connections, heaps and schedulers
			public.getMany(b, "/api/public")
			floor.getMany(b, row.path)

			var toFloor, toPublic []float64
			for b.Loop() {
				took := p.getMany(b, row.path)
				toFloor = append(toFloor, floor.getMany(b, row.path)/took)
				toPublic = append(toPublic, public.getMany(b, "/api/public")/took)
			}
			b.ReportMetric(median(toFloor), "throughput/floor")
			b.ReportMetric(median(toPublic), "throughput/public")
			b.ReportMetric(p.cpuTime()/floor.cpuTime(), "cpu/floor")
			b.ReportMetric(0, "ns/op") // hides it: an operation is a round of all three
		})
	}
}

// getMany sends 200 requests from each of 64 callers and returns the seconds that they took.
func (p *process) getMany(b *testing.B, path string) float64 {
	b.Helper()
	start := time.Now()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			c, err := p.connect()
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			for range 200 {
				if got, err := c.get(path, benchToken); err != nil || got != 200 {
					b.Errorf("got status %d, error %v, want status 200", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start).Seconds()
}

// cpuTime ends the process and returns the seconds of CPU time that it has used.
func (p *process) cpuTime() float64 {
	p.kill()
	return (p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Seconds()
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkCacheEntryExpires measures what the end of a cache entry costs: 500 callers share one
// token, and ZITADEL's stand-in serves 800 introspections a second, one after the other.
func BenchmarkCacheEntryExpires(b *testing.B) {
	const ttl = time.Second
	z := startRole(b, "zitadel", recordedResponse(b), timeVariable+"=1.25ms")
	p := startProgram(b, z.url, "INTROSPECTION_CACHE_TTL="+ttl.String())

	var requests, failures atomic.Int64
	var mu sync.Mutex
	var slowest time.Duration
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 500 {
		c := mustConnect(b, p)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				start := time.Now()
				got, err := c.get("/api/private", benchToken)
				took := time.Since(start)
				requests.Add(1)
				if err != nil {
					b.Error(err)
					return
				}
				if got != 200 {
					failures.Add(1)
				}
				mu.Lock()
				slowest = max(slowest, took)
				mu.Unlock()
			}
		})
	}
	start, before := time.Now(), z.count(b)
	for b.Loop() {
		time.Sleep(ttl)
	}
	elapsed, introspections := time.Since(start), z.count(b)-before
	close(stop)
	wg.Wait()
	b.ReportMetric(float64(introspections)/float64(elapsed/ttl), "introspections/expiry")
	b.ReportMetric(float64(slowest.Milliseconds()), "slowest-ms")
	b.ReportMetric(float64(requests.Load())/elapsed.Seconds(), "requests/s")
	b.ReportMetric(float64(failures.Load()), "failures")
	b.ReportMetric(0, "ns/op") // hides it: an operation is a pause
}

// count returns the number of introspections of a ZITADEL that a benchmark has started.
func (p *process) count(b *testing.B) int {
	b.Helper()
	response, err := http.Get(p.url + "/count")
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	count, err := strconv.Atoi(string(text))
	if err != nil {
		b.Fatal(err)
	}
	return count
}
