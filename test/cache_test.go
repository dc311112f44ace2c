package test

import "testing"

// 200 callers with one token share an introspection. In the second row, the caller that makes
// it leaves, and another makes a second one.
func TestCallersShareAnIntrospection(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		left int64 // callers that leave
	}{
		{"all stay", 0},
		{"the first leaves", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newGate()
			z := startZITADEL(t, g.respond)
			p := startProgram(t, z.URL, "INTROSPECTION_CACHE_TTL=1h")
			clients := make([]*client, 200)
			for i := range clients {
				clients[i] = mustConnect(t, p)
				if err := clients[i].send("/api/private-scoped", token); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					waitFor(t, g.asked, "introspection")
				}
			}
			for range row.left {
				clients[0].Close()
				clients = clients[1:]
				waitFor(t, g.asked, "second introspection")
			}
			close(g.open)
			results := make([]string, len(clients))
			for i, c := range clients {
				results[i] = outcome(c.status())
			}
			checkAll(t, results, outcome(200, nil))
			if got, want := z.introspections.Load(), 1+row.left; got != want {
				t.Errorf("got %d introspections, want %d", got, want)
			}
		})
	}
}
