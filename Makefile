# Two commands stand in the README: `make night` and `make test`. `make help` lists the rest.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
OUT ?= build/bench.jsonl
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help night test test-slow test-cluster check bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml infra/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint infra/constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint infra/constraints.txt --editable '.[dev]'
	touch $(STAMP)

night: $(STAMP) ## install, make the demo workspace in .rpe and run one night
	$(BIN)/rpe init --demo text
	$(BIN)/rpe nightly

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
	$(BIN)/python -m pip install --quiet --constraint infra/constraints.txt --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks $(ROWS) --out $(OUT)

test-cluster: $(STAMP) ## the tests on servers, which they start and stop; needs Debian's package postgresql
	$(BIN)/python -m pip install --quiet --constraint infra/constraints.txt --editable '.[servers,cluster]' 'moto[server]'
	$(PYTEST) -m cluster tests/cluster tests/catalog/test_database_on_postgres.py

clean: ## remove the environment and the workspace
	rm -rf $(VENV) .rpe
