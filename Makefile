# make run     installs what is missing, builds, runs two minutes of chaos (ARGS="--seed 42 -v" adds flags)
# make test    installs what is missing, runs every check and every test, then the
#              integration tests once more on PostgreSQL 17; where a container engine answers, in containers too
# make bench   benchmarks
# make build   bin/spockchaos
# make lint    gofmt, go vet, staticcheck
# make pg PG=17|18   a private PostgreSQL with pglogical below .cache/pg, without root
# make image PG=15|17|18   the image of a node, spockchaos/node:pg17-pglogical; PG="15 17" builds both side by side
# make image-self   the image of the program, spockchaos/spockchaos:<version>
# make clean-images   removes the images of both kinds that no container uses
# make deps    only installs what is missing
# make clean   removes what make built, the private servers included

SHELL := /bin/bash
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin

PG      ?= 17
ARGS    ?=
PREFIX  := topology/local/prefix
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Pinned here rather than in go.mod: nothing that is built into the program needs it.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Prints the version of the container engine; fails where none answers.
ENGINE := timeout 20 docker version -f '{{.Server.Version}}' 2>/dev/null

# A package has integration tests if its tests start servers: through localtest, or one of their own.
INTEGRATION = $(shell grep -rlE --exclude-dir=.cache 'topology/local/localtest"|SPOCKCHAOS_TEST_PG_BIN' --include='*_test.go' . 2>/dev/null | xargs -r -n1 dirname | sort -u)

# A package that takes 8 minutes on a busy machine is not stuck.
# Tests of servers wait more than they compute, so more packages than cores run at once.
TESTFLAGS ?= -timeout 20m -p 3

.PHONY: all build run test test-pg test-spock test-spock-native bench lint pg image image-self test-images clean-images deps clean
all: build

build:
	@$(PREFIX)/deps.sh build
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o bin/spockchaos ./cmd/spockchaos

# Packages are installed while the program is compiled.
run:
	@$(PREFIX)/deps.sh --possible build run
	@$(MAKE) --no-print-directory -j2 deps build
	./bin/spockchaos run --duration 2m $(ARGS)

deps:
	@$(PREFIX)/deps.sh build run

# Everything that may have to be fetched is fetched before anything is tested. Where a container
# engine answers, no test in containers may be skipped.
test:
	@$(PREFIX)/deps.sh build test
	@bin="$${SPOCKCHAOS_TEST_PG_BIN:-$$($(PREFIX)/bin.sh)}" && pg=$$($(PREFIX)/pg.sh 17) && \
	{ engine=$$($(ENGINE)) || engine=; } && \
	if [ -n "$$engine" ]; then \
		export SPOCKCHAOS_TEST_DOCKER=required SPOCKCHAOS_TEST_PROGRAM="$(CURDIR)/bin/spockchaos"; \
		$(MAKE) --no-print-directory -j2 lint test-images; \
	else \
		$(MAKE) --no-print-directory lint; \
	fi && \
	echo "go test -race, $$("$$bin/postgres" --version)" && \
	SPOCKCHAOS_TEST_PG_BIN="$$bin" go test -race -buildvcs=false $(TESTFLAGS) ./... && \
	case "$$("$$bin/postgres" --version)" in \
	"postgres (PostgreSQL) 17"*) ;; \
	*) $(MAKE) --no-print-directory test-pg PG_BIN="$$pg" ;; \
	esac && \
	if [ -n "$$SPOCKCHAOS_SPOCK_PG_BIN" ]; then $(MAKE) --no-print-directory test-spock; \
	else echo "spock tests: skipped, because SPOCKCHAOS_SPOCK_PG_BIN names no installation of PostgreSQL with Spock"; fi && \
	if [ -n "$$SPOCKCHAOS_SPOCK_NATIVE_PG_BIN" ]; then $(MAKE) --no-print-directory test-spock-native; \
	else echo "native tests: skipped, because SPOCKCHAOS_SPOCK_NATIVE_PG_BIN names no installation of PostgreSQL with a Spock that tracks and rescues by itself"; fi && \
	if [ -n "$$engine" ]; then echo "docker tests: run, on container engine $$engine"; \
	else echo "docker tests: skipped, because no container engine answers (docker version)"; fi

# The integration tests again, on the server in PG_BIN (by default the private PG=17). Without the race
# detector: it looks at this program, which is the same, and the first pass had it. Without those in containers,
# which bring servers of their own.
test-pg:
	@$(PREFIX)/deps.sh build test
	@pg="$(PG_BIN)"; [ -n "$$pg" ] || pg=$$($(PREFIX)/pg.sh $(PG)) || exit; \
	packages="$(INTEGRATION)"; [ -n "$$packages" ] || { echo "no package has integration tests"; exit 1; }; \
	echo "go test, $$("$$pg/postgres" --version)" && \
	SPOCKCHAOS_TEST_PG_BIN="$$pg" go test -buildvcs=false -count=1 -skip '^TestDocker' $(TESTFLAGS) $$packages

# Tracking, rescue, watcher and adapter on real Spock, on the server in SPOCKCHAOS_SPOCK_PG_BIN.
test-spock:
	@echo "go test, $$("$$SPOCKCHAOS_SPOCK_PG_BIN/postgres" --version), Spock" && \
	export SPOCKCHAOS_TEST_PG_BIN="$$SPOCKCHAOS_SPOCK_PG_BIN" && \
	go test -buildvcs=false -count=1 $(TESTFLAGS) ./topology/engine/... ./sql ./chaos/watch ./chaos/rescue && \
	go test -buildvcs=false -count=1 $(TESTFLAGS) -run TestEngine ./topology/local && \
	go test -buildvcs=false -count=1 $(TESTFLAGS) -run 'TestConflictsExplain|TestNativeIsRefused' ./chaos

# --tracking native and --rescue native, on the server in SPOCKCHAOS_SPOCK_NATIVE_PG_BIN.
test-spock-native:
	@echo "go test, $$("$$SPOCKCHAOS_SPOCK_NATIVE_PG_BIN/postgres" --version), Spock with a rescue of its own" && \
	go test -buildvcs=false -count=1 $(TESTFLAGS) -run TestNativeServer ./chaos

bench:
	@$(PREFIX)/deps.sh build run
	go test -buildvcs=false -run '^$$' -bench . -benchtime 2s -timeout 30m ./workload/... ./checker/... ./sql/... ./topology/link/...
	go test -buildvcs=false -run '^$$' -bench . -benchtime 1x -timeout 10m ./chaos

lint:
	@$(PREFIX)/deps.sh build
	@bad=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go' 2>/dev/null || find . -name '*.go' -not -path './.cache/*')); \
	[ -z "$$bad" ] || { echo "not formatted (gofmt -w): $$bad"; exit 1; }
	go vet -buildvcs=false ./...
	@$(PREFIX)/staticcheck.sh $(STATICCHECK) ./...

pg:
	@$(PREFIX)/pg.sh $(PG)

image:
	@docker/image.sh $(PG)

image-self: build
	@docker/self.sh '$(VERSION)'

# What the tests in containers need.
test-images: image-self
	@docker/image.sh 15 17

clean-images:
	@docker image ls --filter label=io.spockchaos.image --format '{{if eq .Tag "<none>"}}{{.ID}}{{else}}{{.Repository}}:{{.Tag}}{{end}}' | \
	xargs -r -n1 docker image rm || echo "an image that a container uses stays"

clean:
	rm -rf bin .cache
