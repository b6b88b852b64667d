GO ?= go

.PHONY: build test check lint fuzz bench microbench torture

build:
	$(GO) build -trimpath -o sockwarden ./cmd/sockwarden

# Under the race detector, tests that count and guess have fewer rounds and shorter
# files (langtest.Rounds): the second line runs all of them.
test:
	$(GO) test -race -timeout 30m ./...
	$(GO) test ./rules/... ./engine/scripted

lint:
	$(GO) tool -modfile=.ci/tools/go.mod golangci-lint run ./...

# Each fuzz target for FUZZTIME: inputs (100000x) or time (10m). Every test run includes the corpus in testdata.
FUZZTIME ?= 100000x
fuzz:
	.ci/fuzz $(FUZZTIME)

# Thousands of connections under live rules for LENGTH, and many more crashes; then, for
# as long, a peer in user space that attacks the ages of the kernel's sockets: at 5m a
# dozen million records.
LENGTH ?= 5m
torture:
	SOCKWARDEN_TORTURE=$(LENGTH) $(GO) test -race -count=1 -timeout 60m -v -run '^(TestTorture|TestReloadUnderLadder|TestCrash|TestTermination)' ./cmd/sockwarden
	SOCKWARDEN_TORTURE=$(LENGTH) $(GO) test -count=1 -timeout 60m -v -run '^TestAgesUnderAttack' ./engine

# sockwarden beside ss, netstat, lsof and the minimum that the kernel needs, over
# sockets of its own in namespaces of its own: writes docs/performance.*. As root.
BENCH ?=
bench:
	cd .ci/bench && $(GO) run . $(BENCH)

# The Go benchmarks, by size, with allocations.
microbench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

check:
	.ci/run
