.DEFAULT_GOAL := help

# A go.work in a folder above does not know this module.
export GOWORK = off

# The race detector, where Go has it.
RACE = $(if $(shell go list -race runtime 2>/dev/null),-race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: help demo zitadel run test bench lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-8s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# exec: the demo itself gets the signals that end make.
demo: ## run the API with a mock ZITADEL, without an account
	@trap 'exit 0' INT; go build -buildvcs=false -o demo/demo.exe ./demo && exec demo/demo.exe

# admin.pat is lost with the container, but not with ZITADEL's data: a copy from before still works.
zitadel: ## start a real ZITADEL in Docker and prepare it for the API
	docker compose up -d --wait
	docker compose cp zitadel:/admin.pat admin.pat || test -s admin.pat
	@chmod 600 admin.pat
	@if [ -e .env ] || [ -L .env ]; then \
		echo 'ZITADEL runs. It is not prepared again, since there is a .env.'; \
	else \
		ZITADEL_DOMAIN=http://localhost:8080 go run ./setup; \
	fi
	@echo
	@echo 'Console: http://localhost:8080/ui/console'
	@echo '  user zitadel-admin@zitadel.localhost, password Password1!'
	@echo 'Delete this ZITADEL with all its data, and .env and admin.pat:'
	@echo '  docker compose down -v && rm -f .env admin.pat'

run: ## run the API with the ZITADEL instance in .env
	@trap 'exit 0' INT; go run .

test: ## check the format, vet and test
	@echo 'Testing. The first run downloads and compiles for a minute.'
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then \
		echo "not formatted; run:"; echo "gofmt -w" $$files; exit 1; fi
	go vet ./...
# -count=1: the tests build the program, which the cache of test results does not see.
	go test -count=1 -timeout 3m $(RACE) ./...

bench: ## measure what a request costs
	go test -run '^$$' -bench . .

lint: ## run staticcheck, govulncheck and actionlint: five minutes the first time
	go run $(STATICCHECK) ./...
	@output=$$(go run $(GOVULNCHECK) ./... 2>&1) || { \
		echo "$$output"; \
		echo "$$output" | grep -q 'fetching vulnerabilities' || exit 1; \
		echo "SKIPPED: govulncheck can't reach its database"; }
	go run $(ACTIONLINT)
