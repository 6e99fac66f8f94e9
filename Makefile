# What can be done with this tree. "make" alone lists it. Everything needs Go;
# a target that needs more says so.

GO     ?= go
CITEST := $(GO) run ./internal/tools/citest
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the binary, ./drover: static, for this machine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o drover ./cmd/drover

.PHONY: test
test: ## build, lint, every test and rig; what each part cost and what each proof showed
	@$(CITEST) test

.PHONY: lint
lint: ## the best linter that is here: golangci-lint, else staticcheck, else go vet
	@$(CITEST) lint

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...

.PHONY: proofs
proofs: ## the tests that proofs.txt names, with their figures
	@$(CITEST) proofs

.PHONY: bench
bench: ## every benchmark once, with memory
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: fuzz
fuzz: ## every fuzz target for 10 s; TIME=10000000x for a count, ONLY='^FuzzScan$$' for one
	@$(CITEST) fuzz '$(TIME)' '$(ONLY)'

.PHONY: onboard-demo
onboard-demo: ## every way from a fresh store to a delivering customer, with what is said on the way
	DROVER_SHOW=1 $(GO) test -count=1 -v -run EveryWay ./internal/rig/onboarding

.PHONY: soak
soak: ## the long tests: many kills, many seeds, ten million inputs a parser; hours
	@$(CITEST) soak

.PHONY: receivers
receivers: ## the sinks against receivers that others wrote; minutes to build
	@$(CITEST) receivers

.PHONY: clients
clients: ## Microsoft's own client libraries against the pretend cloud; minutes to build
	@$(CITEST) clients

.PHONY: browser
browser: ## the pages of drover in a real Chromium
	@$(CITEST) browser

.PHONY: cover
cover: ## how much of the code the tests reach: coverage.html
	$(GO) test -coverprofile coverage.out -coverpkg ./... ./...
	$(GO) tool cover -func coverage.out | tail -n 1
	$(GO) tool cover -html coverage.out -o coverage.html
