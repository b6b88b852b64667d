GO ?= go

.PHONY: build test check lint fuzz bench

build:
	$(GO) build -trimpath -o sockwarden ./cmd/sockwarden

test:
	$(GO) test -race ./...

lint:
	$(GO) tool -modfile=.ci/tools/go.mod golangci-lint run ./...

# Each fuzz target for FUZZTIME; the corpus of testdata runs with every test.
FUZZTIME ?= 5s
fuzz:
	.ci/fuzz $(FUZZTIME)

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

check:
	.ci/run
