package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// The arguments are the addresses of the two replicas and of nginx.
const nginxConfig = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	upstream api {
		server %s max_fails=0;
		server %s max_fails=0;
		keepalive 64;
	}
	server {
		listen %s;
		location / {
			proxy_pass http://api;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

func TestRollingRestart(t *testing.T) {
	needSignals(t)
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("SKIPPED: nginx is missing; on Debian: apt-get install nginx-light")
	}
	z := startZITADEL(t, respondActive)
	replicas := []*process{startProgram(t, z.URL), startProgram(t, z.URL)}
	balancer := startNginx(t, nginx, replicas[0].address(), replicas[1].address())

	var responses atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer func() { close(stop); wg.Wait() }()
	for range 16 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				got := balancer.get("/api/private-scoped", tokenPrefix+strconv.Itoa(n))
				if got != 200 {
					t.Errorf("got status %d during a rolling restart, want 200; nginx logs:\n%s",
						got, balancer.lastLog())
					return
				}
				responses.Add(1)
			}
		})
	}
	for n := range 6 {
		enough := responses.Load() + 300
		eventually(t, func() string {
			if got := responses.Load(); got < enough && !t.Failed() {
				return fmt.Sprintf("got %d responses, want %d", got, enough)
			}
			return ""
		})
		replica := replicas[n%2]
		replica.signal(t, syscall.SIGTERM)
		if got := replica.exitStatus(t); got != 0 {
			t.Errorf("got exit status %d, want 0", got)
		}
		_, port, _ := strings.Cut(replica.address(), ":")
		replicas[n%2] = startProgram(t, z.URL, "PORT="+port)
	}
}

// startNginx starts nginx in front of two replicas and waits until it responds.
func startNginx(t *testing.T, nginx, first, second string) *process {
	t.Helper()
	for range 20 {
		address := "127.0.0.1:" + pickPort(t)
		dir := t.TempDir()
		config := filepath.Join(dir, "nginx.conf")
		text := fmt.Sprintf(nginxConfig, first, second, address)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := launch(t, exec.Command(nginx, "-e", "stderr", "-p", dir, "-c", config))
		p.url = "http://" + address
		eventually(t, func() string {
			if p.hasExited() || p.get("/api/public", tokenPrefix) == 200 {
				return ""
			}
			return "got no response from nginx; it logs:\n" + p.lastLog()
		})
		if !p.hasExited() {
			return p
		}
		if !strings.Contains(p.log(), "Address already in use") {
			t.Fatalf("got log of nginx:\n%s\nwant it to listen", p.lastLog())
		}
	}
	t.Fatal("got no port for nginx in 20 attempts, want one")
	return nil
}
