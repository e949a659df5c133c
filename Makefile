# Everything a person does here, by name. Each target does its own set-up and
# needs only Go, git and make; `test` adds the race detector where a C compiler
# is at hand, and PostgreSQL where its server is.

.DEFAULT_GOAL := help
# The race detector needs cgo. CI insists on it.
RACE := $(shell command -v gcc >/dev/null 2>&1 && echo -race)
ifeq ($(CI),true)
RACE := -race
endif
# The libraries that only compute (SQLite in Go, ciphers and key derivation,
# compression, hashes) are built without it: it would make ten of each of their
# seconds, and they share no memory with us but through Go's own packages.
ifneq ($(RACE),)
RACE += $(foreach lib,modernc.org golang.org/x/crypto github.com/klauspost github.com/zeebo,-gcflags=$(lib)/...=-race=false)
endif
# Tests, and the compiler, leave much garbage beside little that is in use: to look for it a
# fourth as often takes a quarter less of the processor. The holdfast that a test starts
# looks for it as always.
test check: export GOGC = 400
test check: export GOMEMLIMIT = 2GiB

# Tests wait for disks, clocks and programs, so that more packages than there are
# processors are tested at a time.
P := -p $(shell expr \( $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) \* 3 + 1 \) / 2)
# These take the longest, and begin first, so that none is left to run alone.
LONG := ./internal/engine ./cmd/holdfast ./internal/vault
FUZZTIME ?= 1m
SOAK ?= 1000000

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## protect drives, a site and a mailbox of real files, lose them, bring them back
	go run ./cmd/holdfast demo

dev: ## run the server with a simulated tenant to try it against
	go run ./cmd/holdfast dev

build: ## build the binary into bin/
	go build -trimpath -o bin/holdfast ./cmd/holdfast

check: lint ## lint, and each room's tests on SQLite and folders, without the race detector: what to run between two commits
	go test $(P) -vet=off -short -skip '^TestPlay' ./internal/...

# Tests whose names begin with TestPlay count allocations, or play dozens of worlds,
# or open hundreds of vaults, to find what is wrong, not what races: the race
# detector would make minutes of each of their seconds. What go test would vet, lint has.
test: lint ## lint, then every test on every database that is here, and each fuzz target for a moment
	go test $(P) $(RACE) -vet=off -timeout 20m -skip '^TestPlay' $(LONG) ./...
	go test $(P) -vet=off -timeout 20m -run '^TestPlay' $(LONG) $$(grep -rl --include='*_test.go' '^func TestPlay' internal cmd | xargs -n1 dirname | sort -u | sed 's|^|./|')
	@$(MAKE) --no-print-directory fuzz FUZZTIME=2000x

soak: ## a million random actions on drives, backups and restores, against a model (hours; SOAK=n for n)
	HOLDFAST_ACTIONS=$(SOAK) go test -run '^TestPlayModel$$' -count=1 -timeout 0 ./internal/engine

conformance: ## drive a server with Microsoft's own Go, JavaScript and Python clients, and the console with Chromium, whose pictures stay in bin/screenshots (minutes to build at first)
	rm -rf bin/screenshots && mkdir -p bin/screenshots
	cd conformance && go vet ./... && HOLDFAST_SCREENSHOTS=$(CURDIR)/bin/screenshots go test -timeout 20m -count=1 ./...
	cd conformance/promtool && go test -skip '^TestAlerts$$' -count=1 ./... # which deploy-test has, for what it takes to build

screenshots: conformance ## renew the pictures of the console in docs/console
	cp bin/screenshots/*-all--wide.png docs/console/overview.png
	cp bin/screenshots/*-unit-wide.png docs/console/unit.png
	cp bin/screenshots/*-restore-drive-wide.png docs/console/restore.png

rclone: ## run rclone's own tests of its onedrive backend against a simulated tenant (minutes to build at first)
	cd conformance/rclone && go vet ./... && go test -timeout 20m -count=1 ./...

release: ## archives, Debian packages, a container image and lists of contents, from a clean commit, into dist/
	cd release && go run . -out ../dist

data-folder: ## keep the data folder of the present commit for the test of upgrades: at each release, before its tag
	go build -trimpath -o bin/holdfast ./cmd/holdfast
	go test ./cmd/holdfast -count=1 -run '^TestUpgradesFromEveryVersion$$' -keep ../../bin/holdfast -as $$(git log -1 --format=%cs-%h --abbrev=7)

release-test: ## make a release for this machine, start what is in it, and compare it with a second one
	cd release && go vet ./... && go test -timeout 20m -count=1 ./...

deploy-test: ## render the compose file and the chart with their own libraries, start what they and the unit of systemd describe (as root), and promtool try the alerts (minutes to build at first)
	cd conformance/deploy && go vet ./... && go test -timeout 20m -count=1 ./...
	cd conformance/promtool && go vet ./... && go test -timeout 20m -count=1 ./...

# Zensical is of the authors of Material for MkDocs; it is pinned in site/, as is the
# script that draws diagrams, which pages would fetch from elsewhere otherwise.
site: ## make the documentation's site in bin/site/html (needs Python and npm)
	test -x bin/site-env/bin/zensical || python3 -m venv bin/site-env
	bin/site-env/bin/pip install -q --disable-pip-version-check -r site/requirements.txt
	test -e bin/site-env/mermaid-12.3.0.tgz || (cd bin/site-env && npm pack --silent mermaid@12.3.0 >/dev/null)
	rm -rf bin/site && mkdir -p bin/site
	cp -r docs site/zensical.toml bin/site/ && cp -r examples deploy CHANGELOG.md bin/site/docs/
	tar xzOf bin/site-env/mermaid-12.3.0.tgz package/dist/mermaid.min.js >bin/site/docs/mermaid.min.js
	sed -i.orig -E 's#\]\(\.\./(examples|deploy)/#](\1/#g' bin/site/docs/*.md && rm bin/site/docs/*.orig
	cd bin/site && ../site-env/bin/zensical build --strict

lint: ## gofmt, vet and staticcheck; each finding is an error
	@test -z "$$(gofmt -l .)" || { echo "gofmt these files:"; gofmt -l .; exit 1; }
	go vet ./...
	go tool staticcheck ./...

bench: ## measure beside restic, kopia and bare counterparts (minutes); read docs/benchmarks.md
	go run ./internal/bench

bench-all: ## the same at the sizes that are promised: a million units, ten million points (an hour or two, 20 GB of disk)
	go run ./internal/bench -all

# Only what is ours is built to tell the fuzzer which lines ran: go test -fuzz would compile
# all libraries once more for it, SQLite among them, for minutes.
fuzz: ## run each fuzz target for FUZZTIME (a time, or a count such as 2000x)
	@mkdir -p bin/fuzz
	go test -c -vet=off -gcflags='holdfast/...=-d=libfuzzer' -o bin/fuzz/ $$(grep -rl --include='*_test.go' '^func Fuzz' internal | xargs -n1 dirname | sort -u | sed 's|^|./|')
	@cache=$$(go env GOCACHE)/fuzz; \
	grep -rn --include='*_test.go' '^func Fuzz' internal | sed 's|^\(.*\)/[^/]*:[0-9]*:func \(Fuzz[A-Za-z0-9]*\).*|\1 \2|' | sort | \
	while read -r dir target; do \
		echo "fuzz $$dir $$target"; \
		(cd $$dir && $(CURDIR)/bin/fuzz/$$(basename $$dir).test -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir "$$cache/holdfast/$$dir") || exit 1; \
	done

.PHONY: help demo dev build check test soak conformance screenshots rclone release release-test deploy-test site lint bench bench-all fuzz
