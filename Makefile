.DEFAULT_GOAL := help

ifeq ($(shell command -v go 2>/dev/null),)
$(error Go is missing: install 1.26 or newer from https://go.dev/dl/)
endif

# The race detector needs a C compiler, which may be missing.
RACE = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: help demo run test bench lint

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# Ctrl-C ends these two without an error.
demo: ## run the API with a stand-in for ZITADEL, without an account
	@echo 'Starting the demo. The first start downloads and builds for up to a minute.'
	@trap 'exit 0' INT; go -C demo run .

run: ## run the API with the ZITADEL instance in .env
	@trap 'exit 0' INT; go run .

test: ## check the format, vet and test both modules
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then \
		echo "not formatted; run:"; echo "gofmt -w" $$files; exit 1; fi
	go vet ./...
	go -C demo vet ./...
# -count=1: the tests build the program, which the cache of test results does not see.
	go test -count=1 $(RACE) ./...
	go -C demo test -count=1 $(RACE) ./...

bench: ## measure the routes, and the end of a cache entry
	go test -run '^$$' -bench . -benchtime 9x ./test

lint: ## run staticcheck, govulncheck and actionlint
	go run $(STATICCHECK) ./...
	go -C demo run $(STATICCHECK) ./...
	@for module in . demo; do \
		echo "govulncheck of $$module"; \
		output=$$(go -C $$module run $(GOVULNCHECK) ./... 2>&1) && continue; \
		echo "$$output"; \
		echo "$$output" | grep -q 'fetching vulnerabilities' || exit 1; \
		echo "SKIPPED: govulncheck can't reach its database"; \
	done
	go run $(ACTIONLINT)
