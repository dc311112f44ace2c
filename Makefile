.DEFAULT_GOAL := help

ifeq ($(shell command -v go 2>/dev/null),)
$(error Go is missing: install 1.26 or newer from https://go.dev/dl/)
endif

# A go.work in a folder above does not know this module.
export GOWORK = off

# The race detector, where Go has it.
RACE = $(if $(shell go list -race runtime 2>/dev/null),-race)

# The suffix of programs on Windows.
EXE = $(shell go env GOEXE)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: help demo zitadel run test bench lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-8s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Both run in bin, where no .env is. Ctrl-C signals them, too; kill makes sure that they end, and
# what the shell says about it goes to /dev/null. The end of one ends the other.
demo: ## run the API with a stand-in for ZITADEL, without an account
	@trap 'exit 0' INT; echo 'Building the demo, which takes up to a minute the first time.'; \
	go build -buildvcs=false -o bin/api$(EXE) . && \
	go build -buildvcs=false -o bin/demo$(EXE) ./demo
	@cd bin; \
	trap 'exec 2>/dev/null; kill $$zitadel $$api; wait; exit 0' INT TERM HUP; \
	./demo$(EXE) & zitadel=$$!; sleep 1; \
	kill -0 $$zitadel 2>/dev/null || exit 1; \
	ZITADEL_DOMAIN=http://localhost:$${DEMO_ZITADEL_PORT:-8080} HOST= INTROSPECTION_CACHE_TTL= \
	CLIENT_ID=400884494992739366 CLIENT_SECRET=demoClientSecret ./api$(EXE) & api=$$!; \
	while kill -0 $$zitadel && kill -0 $$api; do sleep 1; done 2>/dev/null; \
	exec 2>/dev/null; kill $$zitadel $$api; wait; exit 1

zitadel: ## start a real ZITADEL in Docker and prepare it for the API
	@fail() { echo "$$1" >&2; exit 1; }; \
	command -v docker >/dev/null || \
		fail 'Docker is missing: see https://docs.docker.com/get-docker/. make demo needs none.'; \
	docker info >/dev/null 2>&1 || fail 'Docker does not run: start it. make demo needs none.'; \
	docker compose version >/dev/null 2>&1 || \
		fail 'Docker Compose v2 is missing: see https://docs.docker.com/compose/install/.'; \
	if [ -z "$$(docker compose ps -q --status running zitadel)" ]; then \
		curl -s -o /dev/null --noproxy '*' http://127.0.0.1:8080; \
		[ $$? -eq 7 ] || fail 'Port 8080 is in use. If make demo runs, end it first.'; fi; \
	echo 'Starting a real ZITADEL, which takes some minutes the first time.'; \
	docker compose up -d --wait || \
		fail 'ZITADEL does not start: see docker compose logs, then run docker compose down -v.'; \
	docker compose cp zitadel:/admin.pat admin.pat >/dev/null 2>&1 || [ -s admin.pat ] || \
		fail 'The token of the administrator is gone: run docker compose down -v.'; \
	chmod 600 admin.pat; \
	if [ -e .env ] || [ -L .env ]; then \
		echo 'ZITADEL runs. There is a .env, for go run ., so it is not prepared again.'; \
	else \
		ZITADEL_DOMAIN=http://localhost:8080 ADMIN_TOKEN= go run ./setup || exit 1; \
	fi; \
	echo 'Console: http://localhost:8080/ui/console'; \
	echo '  user zitadel-admin@zitadel.localhost, password Password1!'; \
	echo 'Stop ZITADEL:   docker compose stop'; \
	echo 'Forget it all:  docker compose down -v && rm -f .env admin.pat'

run: ## run the API with the ZITADEL instance in .env
	@trap 'exit 0' INT; go run .

test: ## check the format, vet and test
	@echo 'Testing. The first run downloads and compiles for a minute.'
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then \
		echo "not formatted; run:"; echo "gofmt -w" $$files; exit 1; fi
	go vet ./...
# -count=1: the tests build the program, which the cache of test results does not see.
	go test -count=1 $(RACE) ./...

bench: ## measure what a request costs
	go test -run '^$$' -bench . .

lint: ## run staticcheck, govulncheck and actionlint
	go run $(STATICCHECK) ./...
	@output=$$(go run $(GOVULNCHECK) ./... 2>&1) || { \
		echo "$$output"; \
		echo "$$output" | grep -q 'fetching vulnerabilities' || exit 1; \
		echo "SKIPPED: govulncheck can't reach its database"; }
	go run $(ACTIONLINT)
