# One word for each chore. `make chat` and `make test` set up all that they need.

PYTHONS := $(shell scripts/pythons)
PYTHON ?= $(lastword $(PYTHONS))
VENV := .venv
BIN := $(VENV)/bin
PAGES := chat laboratory
STATIC := $(PAGES:%=src/madang/apps/%/static/index.html)
TRANSPORTS := browser/transports
SERVED := src/madang/browser/static/transports.js
PORT ?= 8000
# The tests mostly wait for each other's sockets, so more of them than cores can run at once.
PARALLEL ?= -n 4 --dist worksteal
# What a version of Python can break; all else is run on one.
VERSIONED := tests/unit tests/transcripts tests/faces tests/client tests/cluster/test_clustered_servers.py
# The oldest of several: what runs on it and on the newest, runs on those between them.
OLDEST := $(filter-out $(PYTHON),$(firstword $(PYTHONS)))
OLDEST_VENV := .venv-$(if $(OLDEST),$(shell $(OLDEST) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))

# The tests start hundreds of processes of Python: none of them is to compile again what another one has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := test
.PHONY: compatibility compiled test-compiled test-unoptimised all setup assets npm browser chat test lint types unit exhaustive pythons fix bench bench-quick bench-scaling bench-profile bench-cluster fuzz wheel clean help

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: $(VENV)/.ready ## the Python environment

$(VENV)/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, with venv (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

assets: $(STATIC) $(SERVED) ## the pages, and what servers give to pages, built from pinned npm packages

define page
src/madang/apps/$(1)/static/index.html: browser/$(1)/package-lock.json $$(shell find $$(wildcard $$(addprefix browser/$(1)/,src public styles index.html build.mjs)) $$(wildcard browser/transports/src) browser/page.mjs -type f)
	@command -v npm >/dev/null || { echo "Node.js with npm is needed to build the pages"; exit 1; }
	npm ci --prefix browser/$(1) --no-audit --no-fund --loglevel=error
	npm run --silent --prefix browser/$(1) build
	touch $$@
endef
$(foreach name,$(PAGES),$(eval $(call page,$(name))))

$(SERVED): $(TRANSPORTS)/package-lock.json $(shell find $(TRANSPORTS)/src $(TRANSPORTS)/*.mjs $(TRANSPORTS)/*.json -type f 2>/dev/null)
	@command -v npm >/dev/null || { echo "Node.js with npm is needed to build the transports for browsers"; exit 1; }
	npm ci --prefix $(TRANSPORTS) --no-audit --no-fund --loglevel=error
	npm run --silent --prefix $(TRANSPORTS) build
	touch $@

npm: ## the clients that the tests drive
	@for folder in tests/clients/node tests/cluster/node benchmarks/node; do \
	    test -f $$folder/node_modules/.package-lock.json -a ! $$folder/package-lock.json -nt $$folder/node_modules/.package-lock.json \
	    || npm ci --prefix $$folder --no-audit --no-fund --loglevel=error || exit 1; done

browser: ## Chromium, from Debian's packages
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || { echo "installing Chromium"; \
	    $$([ "$$(id -u)" = 0 ] || echo sudo) sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null'; }

chat: setup assets ## run the chat
	$(BIN)/madang chat --port $(PORT)

test: ## lint, types and all tests; then what the compiled build, and the oldest Python of this machine, could break
	@$(MAKE) --no-print-directory -j6 -O setup assets npm browser lint types $(UNOPTIMISED) $(if $(OLDEST),$(OLDEST_VENV)/.ready)
	$(BIN)/python -m pytest $(PARALLEL)
	@$(MAKE) --no-print-directory test-unoptimised
	@$(if $(OLDEST),$(MAKE) --no-print-directory versioned OLD="$(OLDEST_VENV)")

exhaustive: setup assets npm browser ## what `make test` leaves out: all clients on all faces, over all transports
	$(BIN)/python -m pytest $(PARALLEL) -m exhaustive

compatibility: setup npm browser ## docs/reference/compatibility.md, from a run with all clients
	-MADANG_TEST_RECORD=$(CURDIR)/tests/generations/compatibility.json $(BIN)/python -m pytest -q -m exhaustive tests/generations
	$(BIN)/python scripts/compatibility.py

pythons: ## what a version could break, on all Pythons of this machine but the newest
	@set -e; for python in $(filter-out $(PYTHON),$(PYTHONS)); do \
	    $(MAKE) --no-print-directory versioned OLD=.venv-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); done

.venv-3.%/.ready: pyproject.toml
	python=$$(scripts/pythons | while read python; do "$$python" -c 'import sys; sys.exit(sys.version_info[1] != $*)' && echo "$$python"; done); \
	    "$$python" -m venv .venv-3.$*
	.venv-3.$*/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-3.$*/bin/python -m pip install --quiet --editable . --group dev
	touch $@

.PHONY: versioned
versioned: $(OLD)/.ready
	@echo "== $$($(OLD)/bin/python --version)"
	MADANG_TEST_FACES=uvicorn-fast $(OLD)/bin/python -m pytest -q $(PARALLEL) -m "not node and not browser and not slow and not exhaustive" $(VERSIONED)

lint: setup assets ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@set -e; for part in $(PAGES) transports; do npm run --silent --prefix browser/$$part check; done

types: setup ## strict types of the whole package, and of the public API as programs see it
	$(BIN)/mypy

unit: setup ## the tests that take seconds
	$(BIN)/python -m pytest -q $(PARALLEL) tests/unit

fix: setup ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.bench-ready: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

bench: $(VENV)/.bench-ready ## Madang beside its peers, in one run; tables and plots go to docs/
	$(BIN)/python -m benchmarks --write docs/benchmarks.md $(BENCH)

bench-quick: setup ## some of it in about a minute
	$(BIN)/python -m benchmarks --quick $(BENCH)

bench-scaling: $(VENV)/.bench-ready ## how costs grow with connections and with the size of messages
	$(BIN)/python -m benchmarks.scaling --write docs/benchmarks.md $(BENCH)

bench-profile: $(VENV)/.bench-ready ## where the time goes in a server under the main works
	$(BIN)/python -m benchmarks.profile echo-50 fanout connect polling-echo --write docs/explanation/performance.md $(BENCH)

bench-cluster: setup ## clusters of Madang beside those of Node.js, in one run of five minutes
	$(BIN)/python -m benchmarks.cluster $(BENCH)

fuzz: setup ## a minute for each decoder
	@set -e; for target in fuzz/fuzz_*.py; do $(BIN)/python $$target --seconds 60; done

wheel: setup assets ## dist/madang-*.whl, with the pages in it
	$(BIN)/python -m build --no-isolation --wheel

compiled: build/compiled/.ready ## dist/madang-*.whl for this platform, with the hot modules compiled

COMPILER := scripts/compiled.py pyproject.toml $(shell find src -name '*.py')
build/compiled/.ready: $(COMPILER) $(VENV)/.ready | assets
	HATCH_BUILD_HOOK_ENABLE_CUSTOM=true $(BIN)/python -m build --no-isolation --wheel
	touch $@

# Without optimisation it is made in two thirds of the time.
UNOPTIMISED := build/unoptimised/.ready
$(UNOPTIMISED): $(COMPILER) $(VENV)/.ready | assets
	$(BIN)/python scripts/compiled.py $(@D) 0
	touch $@

COMPILED ?= tests
test-compiled: build/compiled/.ready assets npm browser ## all tests on the compiled build; some of them by COMPILED="tests/unit"
	PYTHONPATH=$(CURDIR)/build/compiled $(BIN)/python -m pytest -q $(PARALLEL) $(COMPILED)

# Where a mistake of the compiler's, or one that only it minds, shows first.
TELLING := tests/unit --ignore=tests/unit/benchmarks --ignore=tests/unit/client tests/transcripts tests/project/test_compiled.py \
    $(addprefix tests/faces/test_,polling.py pipelining.py websocket.py upgrade.py streams.py close.py)
test-unoptimised: $(UNOPTIMISED) ## on a compiled build that is quickly made, the tests that tell most
	@echo "== compiled"
	PYTHONPATH=$(CURDIR)/$(dir $(UNOPTIMISED)) MADANG_TEST_FACES=uvicorn-fast $(BIN)/python -m pytest -q $(PARALLEL) -m "not node and not browser and not slow and not exhaustive" $(TELLING)

clean: ## all that was made
	rm -rf $(VENV) .venv-3.* dist build src/madang/apps/*/static src/madang/browser/static .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf browser/*/node_modules $(TRANSPORTS)/dist $(TRANSPORTS)/build tests/clients/node/node_modules tests/cluster/node/node_modules benchmarks/node/node_modules benchmarks/node/*/node_modules benchmarks/.build
