.DEFAULT_GOAL := help

ifeq ($(shell command -v go 2>/dev/null),)
$(error Go is missing: install 1.26 or newer from https://go.dev/dl/)
endif

# The race detector needs a C compiler, which a machine with Go need not have.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOSEC := github.com/securego/gosec/v2/cmd/gosec@v2.30.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: help demo run test bench fuzz lint

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

demo: ## run the API against a stand-in for a ZITADEL instance, with nothing set up
	go -C demo run .

run: ## run the API against the ZITADEL instance in .env
	go run .

test: ## check the format, vet and test both modules
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "gofmt -w $$unformatted"; exit 1; fi
	go vet ./...
	go -C demo vet ./...
	go test $(RACE) ./...
# Not from the cache, which does not see that the API or the README has changed.
	go -C demo test -count=1 $(RACE) ./...

bench: ## measure each route beside the least that an API can do
	go test -run '^$$' -bench . -benchtime 25x .

fuzz: ## fuzz the Authorization header and ZITADEL's answer, 30 s each
	go test -run '^$$' -fuzz FuzzAuthorization -fuzztime 30s .
	go test -run '^$$' -fuzz FuzzAnswer -fuzztime 30s .

lint: ## run staticcheck, gosec, govulncheck and actionlint
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
