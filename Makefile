.DEFAULT_GOAL := help

# The race detector needs a C compiler, which a machine with Go need not have.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOSEC := github.com/securego/gosec/v2/cmd/gosec@v2.30.0

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
	go -C demo test $(RACE) ./...

fuzz: ## fuzz the Authorization header and ZITADEL's answer, 30 s each
	go test -run '^$$' -fuzz FuzzAuthorization -fuzztime 30s .
	go test -run '^$$' -fuzz FuzzAnswer -fuzztime 30s .

lint: ## run staticcheck and gosec on both modules
	go run $(STATICCHECK) ./...
	go run $(GOSEC) -quiet ./...
	cd demo && go run $(STATICCHECK) ./...
	cd demo && go run $(GOSEC) -quiet ./...
