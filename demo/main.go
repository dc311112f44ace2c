// Demo runs the API of the parent folder against a stand-in for a ZITADEL instance, so that it
// can be tried without any setup:
//
//	go -C demo run .
//
// PORT and DEMO_ZITADEL_PORT change the ports from 5000 and 8080.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example-api-go/demo/process"
)

const welcome = `
This is a stand-in for a ZITADEL instance and not an identity provider: it knows two users,
checks no passwords, and is for this demo and its tests only.

  user     access token   role
  reader   reader-pat     read:messages
  visitor  visitor-pat

The API is ready. Call it from another terminal:

TOKEN='reader-pat'
curl -w '\n%%{http_code}\n' %[1]s/api/public
curl -w '\n%%{http_code}\n' %[1]s/api/private
curl -w '\n%%{http_code}\n' %[1]s/api/private -H "Authorization: Bearer $TOKEN"
curl -w '\n%%{http_code}\n' %[1]s/api/private-scoped -H "Authorization: Bearer $TOKEN"

Remove the role, call the API again, and give the role back:

curl -X DELETE %[2]s/demo/users/reader/roles/read:messages
curl -w '\n%%{http_code}\n' %[1]s/api/private-scoped -H "Authorization: Bearer $TOKEN"
curl -X PUT %[2]s/demo/users/reader/roles/read:messages

Press Ctrl-C to end the demo.

`

func main() {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // drops the log of package op
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt,
		syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE) // the API would outlive these
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run runs the stand-in and the API until ctx is done. It is an error if one of them ends before.
func run(ctx context.Context) error {
	address := net.JoinHostPort("localhost", cmp.Or(os.Getenv("DEMO_ZITADEL_PORT"), "8080"))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: set DEMO_ZITADEL_PORT to another port", err)
	}
	domain := "http://" + address
	// These have characters that get lost without the form-encoding inside Basic (RFC 6749 §2.3.1).
	clientID := "400884494992739366@demo:100%+api"
	clientSecret := "+%2F: " + rand.Text()
	standIn := &http.Server{
		Handler:           newStandIn(domain, clientID, clientSecret),
		ReadHeaderTimeout: time.Minute,
	}
	defer standIn.Close()
	standInError := make(chan error, 1)
	go func() { standInError <- standIn.Serve(listener) }()

	api, err := process.StartAPI(ctx, "", []string{
		"ZITADEL_DOMAIN=" + domain, "CLIENT_ID=" + clientID, "CLIENT_SECRET=" + clientSecret,
	}, os.Stderr)
	if err != nil {
		select { // Ctrl-C can interrupt the build before its signal arrives here
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
			return err
		}
	}
	defer api.Stop()
	fmt.Printf(welcome, api.URL, domain)

	select {
	case err := <-standInError:
		return fmt.Errorf("the stand-in has ended: %w", err)
	case <-api.Ended:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("the API has ended: %s", api.Status())
}
