# Everything is one word: `make help` lists the words from the comments behind them.
#
#   make test TORCH="torch==2.13.0" PYTHON=python3.12
#   make bench DATA=/data/brats2015 REPEATS=5 > bench.md
#
# TORCH is installed before segkit itself, so that the build it names (a CPU build, say) is the one that stays.

TORCH  ?= torch>=2.10
PYTHON ?= python3

# Of bench. DATA: BRATS 2015 in DeepMedic's example layout; without it, phantoms of the same size.
DATA    ?=
REPEATS ?= 5

VENV := .venv
BIN  := $(VENV)/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: install demo test test-all test-slow lint types bench clean help

install: $(VENV)/installed ## make .venv and install segkit into it

demo: $(VENV)/installed ## synthetic scans -> train -> predict -> evaluate -> logit shift -> report, into runs/demo
	@$(call timed,$(BIN)/segkit demo --output runs/demo,demo)

test: $(VENV)/installed-test ## the test suite without its slow tests
	@$(call timed,$(PYTEST) -m "not slow",tests)

test-all: $(VENV)/installed-test ## the whole test suite
	@$(call timed,$(PYTEST),tests)

test-slow: $(VENV)/installed-test ## the slow tests alone; that there are none is no failure
	@$(call timed,{ $(PYTEST) -m slow || [ $$? -eq 5 ]; },slow tests)

lint: $(VENV)/installed-dev ## style and format, nothing changed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev ## static types
	$(BIN)/mypy

# What is installed is said beside the page. nnU-Net is measured where it is installed: what it needs from PyPI does not load beside every
# build of torch.
bench: ## segkit beside its peers, in hours: a Markdown page on the standard output, progress on the other
	@$(MAKE) --no-print-directory $(VENV)/installed-bench >&2
	@echo "# segkit beside its peers"
	@set -e; for work in sampling reading metrics export inference step; do \
	    case $$work in metrics|export) data= ;; *) data="$(DATA:%=--data %)" ;; esac; \
	    echo "bench: $$work $$data" >&2; printf '\n## %s\n\n' $$work; \
	    $(BIN)/python benchmarks/$$work.py $$data --repeats $(REPEATS); \
	done

clean: ## remove .venv, caches and build products; runs and data stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find segkit tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two processes with half of the cores' threads each.
PYTEST := $(BIN)/python -m pytest -n 2

# $(call timed,COMMAND,WHAT): run it, and say how long it took.
timed = began=$$(date +%s) && $(1) && echo "$(2): $$(($$(date +%s) - began)) s"

# Stamps: what is installed, so that a second `make test` installs nothing. Extras are nested: dev holds test, test holds the rest; bench
# stands apart.
$(VENV)/installed:      EXTRA :=
$(VENV)/installed-test: EXTRA := [test]
$(VENV)/installed-dev:  EXTRA := [dev]
$(VENV)/installed-bench: EXTRA := [bench]
$(VENV)/installed-test $(VENV)/installed-bench: ALSO := $(VENV)/installed
$(VENV)/installed-dev:  ALSO  := $(VENV)/installed $(VENV)/installed-test

$(VENV)/installed $(VENV)/installed-test $(VENV)/installed-dev $(VENV)/installed-bench: pyproject.toml $(VENV)/torch | $(BIN)/pip
	@$(call timed,$(BIN)/pip install "$(TORCH)" && $(BIN)/pip install -e ".$(EXTRA)",installed)
	@touch $@ $(ALSO)

# The last thing venv makes: a folder left behind by an interrupted attempt is completed.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v < (3, 14) and "expected Python 3.11 to 3.13, got %d.%d: name another one, as in make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)

# Rewritten, and so newer than the stamps, only where TORCH is another one than last time.
$(VENV)/torch: always | $(BIN)/pip
	@echo '$(TORCH)' | cmp -s - $@ || echo '$(TORCH)' > $@

.PHONY: always
