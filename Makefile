# Needs python3 (3.11 or newer) with venv, and nothing else. `make up` and `make test` install what they need into .venv.
#
#   make up PYTHON=python3.13          another interpreter
#   make up TORCH_INDEX_URL=...        where to take torch from (a CPU-only or another CUDA build)

PYTHON ?= python3
TORCH_INDEX_URL ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: help up test lint format types train bench clean

help:
	@echo "make up       run everything here: Postgres, Valkey, API, worker, sweep"
	@echo "make test     what CI runs: lint, types, imports, tests"
	@echo "make lint     ruff and import-linter     make format   write the format"
	@echo "make types    mypy --strict              make bench    submit to done, beside bare references"
	@echo "make train    train the bundled model    make clean    remove caches, keep .venv and .safelight"

up: $(VENV)/run.stamp
	@$(BIN)/safelight up

test:
	@.ci/run

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

train: $(VENV)/dev.stamp
	$(BIN)/python -m training

bench: $(VENV)/dev.stamp
	$(BIN)/python bench/submit_to_done.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# torch comes first and by itself: where a CPU build lies at hand, the same pin takes it.
$(VENV)/torch.stamp: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Safelight needs Python 3.11 or newer; name one with PYTHON=python3.x."; exit 1; }
	@echo "First run: making $(VENV) and installing torch and the rest. This takes some minutes, the next run none."
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python3 has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PIP) install --quiet $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) -c constraints.txt torch
	@touch $@

$(VENV)/run.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) install --quiet -c constraints.txt -e '.[api,worker,cli,embedded]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/run.stamp
