.PHONY: setup hooks format check test test-slow e2e bench crash mutants soak audit sbom docs tour
MINUTES ?= 60
BENCH_DATA ?= ../shared/bench
BENCH_BARS ?= ../shared/data
# `make test PYTHON=python3.13` works in an environment of that Python, beside .venv where that has another.
VENV := $(shell PYTHON='$(PYTHON)' scripts/venv.sh)
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
# Compiled anew in each process, the tests and the package took ten seconds of each worker and a part of each command.
export PYTHONDONTWRITEBYTECODE :=

setup:
	@PYTHON='$(PYTHON)' scripts/setup.sh dev

hooks: setup
	$(BIN)/pre-commit install

format: setup
	$(BIN)/ruff format src tests benchmarks scripts
	$(BIN)/ruff check --fix src tests benchmarks scripts

check: setup
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not e2e"

test-slow: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

e2e: setup
	@scripts/browser.sh
	$(BIN)/python -m pytest -n0 -m "e2e and not slow" tests/e2e

bench: setup
	$(BIN)/python benchmarks/speed.py --history benchmarks/history.jsonl --page docs/benchmarks.md
	$(BIN)/python benchmarks/scan.py $(BENCH_BARS)
	$(BIN)/python benchmarks/scan_events.py $(BENCH_DATA) $(BENCH_BARS)
	$(BIN)/python benchmarks/interval_coverage.py
	$(BIN)/python benchmarks/gate_errors.py
	PATH=$(CURDIR)/$(BIN):$$PATH benchmarks/few_labels.sh $(BENCH_DATA) $(BENCH_BARS)

crash: setup
	$(BIN)/python benchmarks/crash.py

soak: setup
	$(BIN)/python benchmarks/soak.py --minutes $(MINUTES) --page docs/reliability.md

audit:
	@scripts/supply/audit.sh

sbom: setup
	$(BIN)/python scripts/supply/sbom.py

mutants: setup
	nice -n 15 $(BIN)/python scripts/mutation/run.py --page docs/reliability.md

# The pages of options, files, errors and faults are made from the code while the site is built.
docs: setup
	$(BIN)/python scripts/docs/make_architecture.py
	$(BIN)/python scripts/docs/run_notebook.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Its outputs hold times and run ids, so that they change each time.
tour: setup
	@scripts/browser.sh
	$(BIN)/python scripts/docs/make_tour.py
