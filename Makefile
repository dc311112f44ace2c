.DEFAULT_GOAL := help

ifeq ($(shell command -v go 2>/dev/null),)
$(error Go is missing: install 1.26 or newer from https://go.dev/dl/)
endif

# A go.work in a folder above does not know the modules of this repository.
export GOWORK = off

# The race detector needs a C compiler, which may be missing.
RACE = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: help demo run test bench lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-8s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Ctrl-C ends these two without an error.
demo: ## run the API with a stand-in for ZITADEL, without an account
	@echo 'Starting the demo. The first start downloads and builds for up to a minute.'
	@trap 'exit 0' INT; go -C demo run .

run: ## run the API with the ZITADEL instance in .env
	@trap 'exit 0' INT; go run .

test: ## check the format, vet and test both modules
	@echo 'Testing. The first run downloads and compiles for some minutes.'
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then \
		echo "not formatted; run:"; echo "gofmt -w" $$files; exit 1; fi
	go vet ./...
	go -C demo vet ./...
# -count=1: the tests build the program, which the cache of test results does not see.
	go test -count=1 $(RACE) ./...
	go -C demo test -count=1 ./...

bench: ## measure what a request costs
	go test -run '^$$' -bench . .

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
