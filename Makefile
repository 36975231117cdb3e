# What one does with a checkout of keyturn. Needs Go, git and make; all else comes through the Go module proxy.

.DEFAULT_GOAL := help

GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Settings: make fuzz FUZZTIME=1m, make test PKG=./internal/ledger/
FUZZTIME ?= 10s
SOAK     ?= 5m
PKG      ?= ./...
# Where goroutines share memory.
RACE     ?= $(patsubst %,./%/...,$(wildcard internal/authority internal/bolt internal/httpapi internal/access internal/keys internal/lambdahttp internal/replica internal/verdict internal/agent internal/listen internal/rounds internal/shortcut sidecar/verify internal/usage internal/metrics internal/news internal/serve))
# The long histories run without the detector, in make test.
RACEFLAGS ?= -short
# Of the Lambda functions: arm64, x86_64, or host.
ARCH     ?= arm64
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# What is checked and tested is what is shipped: without C.
export CGO_ENABLED := 0

GOBUILD := go build -trimpath -ldflags '-X main.version=$(VERSION)'
# Folders of tests with a function of this kind, each line "folder function".
tests_of = git grep --untracked -E '^func $(1)[A-Z0-9_][A-Za-z0-9_]*\(' -- '*_test.go' ':!*/testdata/*' | \
	sed -E 's|^(.*)/[^/]*:func ([A-Za-z0-9_]*).*|\1 \2|' | sort -u

.PHONY: help
help: ## print this index
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## compile bin/keyturn and bin/keyturn-sidecar
	$(GOBUILD) -o bin/keyturn ./cli
ifneq ($(wildcard sidecar/*.go),)
	$(GOBUILD) -o bin/keyturn-sidecar ./sidecar
endif

.PHONY: demo
demo: build ## run a whole cluster through a rotation and a revocation, in seconds
	bin/keyturn demo

.PHONY: test
test: ## run all tests in random order (PKG=./... narrows)
	go test -shuffle=on $(PKG)

.PHONY: race
race: ## run the race detector on the concurrent packages (needs a C compiler; RACE=./... widens)
ifeq ($(RACE),)
	@echo 'race: none of the concurrent packages exists yet'
else
	CGO_ENABLED=1 go test -race $(RACEFLAGS) $(RACE)
endif

.PHONY: check
check: ## format, vet, staticcheck, go.mod, architecture, sizes: clean before every commit
	@unformatted=$$(go run $(GOFUMPT) -l .) || exit 1; test -z "$$unformatted" || \
		{ echo "not formatted (go run $(GOFUMPT) -l -w .):"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go mod tidy -diff
	go test -count=1 ./internal/archtest/...
	@if command -v python3 >/dev/null; then infra/sam validate --lint; \
	elif test "$$CI" = true; then echo 'check: template.yaml is not validated: there is no Python 3'; exit 1; \
	else echo 'check: template.yaml is left out: there is no Python 3'; fi
	@$(MAKE) --no-print-directory budget

.PHONY: localstack
localstack: ## deploy the template to LocalStack (AWS_ENDPOINT_URL, else docker) and run the end-to-end suite against it
	localstack/deploy

.PHONY: zips
zips: ## build and pack the Lambda functions into bin/functions, the same bytes every time (ARCH=arm64)
	go run ./infra/zips -arch $(ARCH) -version $(VERSION)

.PHONY: fuzz
fuzz: ## run every fuzz target (FUZZTIME=10s each)
	@targets=$$($(call tests_of,Fuzz)); test -n "$$targets" || { echo 'fuzz: no target found'; exit 1; }; \
	echo "$$targets" | while read -r dir target; do \
		echo "== $$dir $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$dir" </dev/null || exit 1; \
	done

.PHONY: bench
bench: ## measure: Go benchmarks, then ratios under load over HTTP
	@dirs=$$($(call tests_of,Benchmark) | sed 's|^\([^ ]*\) .*|./\1|' | sort -u); \
	if test -z "$$dirs"; then echo 'bench: no benchmark found'; else go test -run '^$$' -bench . -benchmem $$dirs; fi
ifneq ($(wildcard internal/bench/*.go),)
	go run ./internal/bench
endif
ifneq ($(wildcard infra/zips/*.go),)
	$(MAKE) --no-print-directory zips
endif

.PHONY: soak
soak: ## minutes of load on real processes: nothing may be left behind (SOAK=5m), then processes are killed for as long
	go test -count=1 -timeout 60m -v -run 'Soak|WhateverBreaks' ./internal/fleet/ -soak $(SOAK) -chaos $(SOAK)

.PHONY: budget
budget: ## print the size thermometer; fails where a hard limit is broken
	@go run ./internal/archtest/budget

.PHONY: cover
cover: ## print the test coverage of each package (profile in bin/cover.out)
	@mkdir -p bin
	@go test -coverprofile=bin/cover.out $(PKG)
	@awk 'NR > 1 { n = split($$1, part, "/"); dir = $$1; sub("/" part[n], "", dir); \
			size[$$1] = $$2; of[$$1] = dir; if ($$3 > 0) hit[$$1] = 1 } \
		END { for (b in size) { all[of[b]] += size[b]; total += size[b]; \
				if (b in hit) { got[of[b]] += size[b]; reached += size[b] } } \
			for (d in all) printf "%6.1f%%  %6d statements  %s\n", 100 * got[d] / all[d], all[d], d | "sort -k 4"; \
			close("sort -k 4"); if (total) printf "%6.1f%%  %6d statements  in all\n", 100 * reached / total, total }' bin/cover.out
