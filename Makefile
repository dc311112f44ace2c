.DEFAULT_GOAL := help

ifeq ($(shell command -v go 2>/dev/null),)
$(error Go is missing: install 1.26 or newer from https://go.dev/dl/)
endif

# The race detector needs a C compiler, which may be missing.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOSEC := github.com/securego/gosec/v2/cmd/gosec@v2.30.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

# The two releases of Go that are supported.
GO_RELEASES := go1.26.8 go1.27.4
NEWEST_GO := $(lastword $(GO_RELEASES))

.PHONY: help demo run live test test-all bench fuzz lint

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# Ctrl-C ends these three without an error.
demo: ## run the API against a stand-in for a ZITADEL instance, without any setup
	@trap 'exit 0' INT; go -C demo run .

run: ## run the API against the ZITADEL instance in .env
	@trap 'exit 0' INT; go run .

live: ## test the ZITADEL instance in .env with TOKEN and, if it is set, VISITOR_TOKEN
	@trap 'exit 0' INT; go -C demo tool live

test: ## check the format, vet and test both modules
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "gofmt -w $$unformatted"; exit 1; fi
	go vet ./...
	go -C demo vet ./...
# -count=1: cached results ignore changes to the program that the tests build.
	go test -count=1 $(RACE) ./...
	go -C demo test -count=1 $(RACE) ./...

test-all: ## run the tests with both supported releases of Go
	@for release in $(GO_RELEASES); do \
		echo "GOTOOLCHAIN=$$release"; GOTOOLCHAIN=$$release $(MAKE) test || exit 1; done

bench: ## measure the routes, and the cache when an entry expires
	go test -run '^$$' -bench . -benchtime 25x ./test

fuzz: ## fuzz the Authorization header and ZITADEL's response, 30 s each
	go test -run '^$$' -fuzz FuzzAuthorization -fuzztime 30s .
	go test -run '^$$' -fuzz FuzzParseClaims -fuzztime 30s .

lint: ## run staticcheck, gosec, govulncheck, actionlint and go fix
	go run $(STATICCHECK) ./...
	go -C demo run $(STATICCHECK) ./...
	go run $(GOSEC) -quiet -exclude-dir=demo ./...
	go -C demo run $(GOSEC) -quiet ./...
	@for module in . demo; do \
		echo "govulncheck of $$module"; \
		output=$$(go -C $$module run $(GOVULNCHECK) ./... 2>&1) && continue; \
		echo "$$output"; \
		echo "$$output" | grep -q 'fetching vulnerabilities' || exit 1; \
		echo "SKIPPED: govulncheck can't reach its database"; \
	done
	go run $(ACTIONLINT)
	@if ! GOTOOLCHAIN=$(NEWEST_GO) go version >/dev/null 2>&1; then \
		echo "SKIPPED: go fix, since $(NEWEST_GO) cannot be downloaded"; exit 0; fi; \
	for module in . demo; do \
		echo "go fix of $$module"; \
		GOTOOLCHAIN=$(NEWEST_GO) go -C $$module fix -diff ./... || exit 1; \
	done
