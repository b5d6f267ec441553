# Everything a developer runs. Each target makes .venv by itself; only python3 (3.11 or newer) and make are needed.

PYTHON ?= python3
PYTEST_ARGS ?=
# Two processes with servers of their own, because most tests wait for something; those of the whole system run alone.
PYTEST_JOBS ?= 2
BENCH_ARGS ?=
TORTURE_ARGS ?=
DOCS_ARGS ?=

# Both halves run, whatever the first one finds; 5 is pytest's "none selected".
define pytest
rooms=0; system=0; \
$(BIN)/python -m pytest -n $(PYTEST_JOBS) --dist loadfile -m "$(1) and not stack" $(PYTEST_ARGS) || rooms=$$?; \
$(BIN)/python -m pytest -n $(PYTEST_JOBS) --dist loadfile -m "$(1) and stack" $(PYTEST_ARGS) || system=$$?; \
case $$rooms$$system in 00|05|50) ;; *) exit 1;; esac
endef

VENV := .venv
BIN := $(VENV)/bin
# Named after the lock's contents, not its date: a fresh checkout changes dates.
INSTALLED := $(VENV)/.installed-$(shell cksum < requirements/dev.txt | tr -d ' ')

.DEFAULT_GOAL := help
.PHONY: up demo test test-long bench torture check lint docs-check fmt clean help

up: $(INSTALLED) ## run the whole system here: Postgres, Temporal, bank emulator, two workers, API (Ctrl-C stops it)
	@exec $(BIN)/python -m dev.stack

demo: $(INSTALLED) ## with `make up` running elsewhere: bill, payment, webhook, told in the terminal
	@exec $(BIN)/python -m dev.demo

test: $(INSTALLED) ## the tests of every change; PYTEST_ARGS="-k name -x" goes to pytest
	@$(call pytest,not long)

test-long: $(INSTALLED) ## the tests that take long: killed parts, years of billing, made-up requests
	@$(call pytest,long)

bench: $(INSTALLED) ## measure creates and paid → webhook (about 10 minutes); BENCH_ARGS="create --rounds 1"
	@exec $(BIN)/python -m bench $(BENCH_ARGS)

torture: $(INSTALLED) ## kill parts, break the bank, compare all books (about 3 minutes); TORTURE_ARGS="--size long --seed 7"
	@exec $(BIN)/python -m torture $(TORTURE_ARGS)

check: lint test ## what CI runs: formatting, lint, types, import rules, migrations, OpenAPI file, tests

lint: $(INSTALLED) ## `make check` without the tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports
	@$(BIN)/python -m dev.checks migrations
	@$(BIN)/python -m dev.checks openapi
	@$(BIN)/python -m dev.checks configuration

# With DOCS_ARGS="--venv .venv" it takes the installation at hand, as .ci/run does: about a minute.
docs-check: $(INSTALLED) ## run every shell block of README and getting started in a clean clone (installs there: some minutes)
	@exec $(BIN)/python -m dev.docs_check $(DOCS_ARGS)

fmt: $(INSTALLED) ## format the code and apply the safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: $(INSTALLED) ## delete the development system's data (.tolem) and all caches; .venv stays
	@$(BIN)/python -m dev.clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): requirements/dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and \
	  "This needs Python 3.11 or newer; $(PYTHON) is " + v + ". Name another one: make PYTHON=python3.12 ...")'
	@echo "Installing into $(VENV) (only when requirements/dev.txt changes)"
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@
