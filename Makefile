# Two commands stand in the README: `make night` and `make test`. `make help` lists the rest.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
OUT ?= build/bench.jsonl
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
LOG := $(VENV)/install.log
# what pip says is read when it fails, and only then
PIP = $(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off --constraint infra/constraints.txt
QUIETLY = > $(LOG) 2>&1 || { tail -n 40 $(LOG) >&2; echo "pip failed; all that it said is in $(LOG)" >&2; exit 1; }

.PHONY: help night test test-slow test-cluster check bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml infra/constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "no $(PYTHON) here: install Python 3.11, or name it, as in: make PYTHON=/path/to/python3.11 night" >&2; exit 1; }
	@echo "installing into $(VENV), once: some 200 packages, 2.7 GB and more with torch; 5 to 15 minutes"
	@$(PYTHON) -m venv $(VENV)
	@echo "  1 of 2: torch"
	@$(PIP) torch $(QUIETLY)
	@echo "  2 of 2: everything else"
	@$(PIP) --editable '.[dev]' $(QUIETLY)
	@touch $(STAMP)

night: $(STAMP) ## install, make the demo workspace in .rpe and run one night
	@$(BIN)/rpe init --demo text
	@echo "one night over ten small sources: about two minutes on two cores"
	@$(BIN)/rpe nightly

test: $(STAMP) ## the default tests
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(STAMP) ## the tests that take minutes
	$(PYTEST) -m slow

check: $(STAMP) ## format, lint, types, import contracts, then doctests and the default tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

bench: $(STAMP) ## measure against the peers; ROWS="row_a row_b" for some, OUT=FILE keeps JSON lines
	@$(PIP) --editable '.[bench]' $(QUIETLY)
	$(BIN)/python -m tests.benchmarks $(ROWS) --out $(OUT)

test-cluster: $(STAMP) ## the tests on servers, which they start and stop; needs Debian's package postgresql
	@$(PIP) --editable '.[servers,cluster]' 'moto[server]' $(QUIETLY)
	$(PYTEST) -m cluster tests/cluster tests/catalog/intake/test_database_on_postgres.py

clean: ## remove the environment and the workspace
	rm -rf $(VENV) .rpe
