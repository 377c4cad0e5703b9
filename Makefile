# make test    installs what the tests need and runs them all, with the race detector
# make lint    gofmt, vet, staticcheck, and vet for macOS and Windows
# make bench   the Go benchmarks
# make soak    ten minutes of random faults under load; SOAK=1h for longer
# make browser real browser on the dashboard, on each store; pictures in dashboard/browser/pictures
# make setup   only installs what the tests need

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Further flags for go test, such as TESTFLAGS='-v -run Storm'.
TESTFLAGS =

.PHONY: test lint bench setup soak browser

# The laboratory measures how long stops and recoveries take, so nothing else runs
# beside it.
LAB = ./internal/lab

# The command line is a module of its own.
CLI = cmd/caddis

# So are the tests against a collector of traces, as they need its protocol.
OTLP = jobs/telemetry/otlp

# SQLite is C that was translated to Go: under the race detector its whole model takes
# too long, so the many sequences run without.
SQLITE = ./backend/sqlite

test: setup
	CADDIS_REQUIRE_REDIS=1 CGO_ENABLED=1 go test -race -timeout 25m $(TESTFLAGS) $$(go list ./... | grep -v -e /internal/lab -e /backend/sqlite)
	CGO_ENABLED=1 go test -race -short -timeout 25m $(TESTFLAGS) $(SQLITE)
	go test -timeout 25m -run DoesWhatTheModelDoes $(TESTFLAGS) $(SQLITE)
	cd $(CLI) && CADDIS_REQUIRE_REDIS=1 CGO_ENABLED=1 go test -race -timeout 25m $(TESTFLAGS) ./...
	cd $(OTLP) && CGO_ENABLED=1 go test -race $(TESTFLAGS) ./...
	CADDIS_REQUIRE_REDIS=1 CGO_ENABLED=1 go test -race -timeout 25m $(TESTFLAGS) $(LAB)

lint:
	@echo gofmt -l .
	@files=$$(gofmt -l .) && test -z "$$files" || { echo "not formatted: $$files" >&2; exit 1; }
	@for module in . $(CLI) $(OTLP); do (set -ex; cd $$module; \
		go vet ./...; \
		go run $(STATICCHECK) ./...; \
		GOOS=darwin GOARCH=arm64 go vet ./...; \
		GOOS=windows GOARCH=amd64 go vet ./...) || exit 1; done

bench:
	go test -run '^$$' -bench . -benchmem $(TESTFLAGS) ./...

setup:
	@.ci/setup

browser: setup
	@dashboard/browser/run

SOAK = 10m

soak: setup
	CADDIS_REQUIRE_REDIS=1 CADDIS_SOAK=$(SOAK) go test -count=1 -timeout 0 -run '^TestSoak$$' -v $(TESTFLAGS) $(LAB)
