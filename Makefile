# All targets need python3 (3.11 or newer) and make. `make` alone lists them.

PYTHON ?= python3
# Index from which torch is installed instead of the default one. PyTorch's CPU index saves gigabytes on Linux without a GPU.
TORCH_INDEX ?=
# `make up QUIET=` shows what pip does.
QUIET ?= -qq

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --no-input --disable-pip-version-check $(QUIET) -c constraints.txt

# Stamp files of what is installed. A stamp is out of date when a requirement changes; else a second run installs nothing.
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
TRAINING := $(VENV)/.installed-training

.DEFAULT_GOAL := help
.PHONY: help up install dev test lint format types slow hostile clients bench bench-check train judge clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Variables: PYTHON=python3.12 (which Python), TORCH_INDEX=<url> (another index for torch alone), QUIET= (show pip).'

up: $(RUN) ## install, start everything, say how to post the first prompt
	@$(BIN)/safelight up

install: $(RUN) ## install what is needed to run Safelight, and start nothing

dev: $(DEV) ## install what is needed to change Safelight

test: ## everything that CI checks: lint, format, types, imports, tests
	@bash .ci/run

lint: $(DEV) ## ruff, its formatter and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(DEV) ## format the code with ruff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(DEV) ## mypy --strict
	$(BIN)/mypy

slow: $(DEV) ## the tests that CI has no time for: training, and the same bytes in every arithmetic
	$(BIN)/pytest -q -m slow tests

hostile: $(DEV) ## attack a Safelight and measure what other clients notice: some minutes, prints a line for each attack
	$(BIN)/pytest -q -s -m "hostile or not hostile" tests/hostile

clients: $(DEV) ## run image clients from the package index against a Safelight and write docs/clients.md: some minutes
	$(BIN)/pytest -q -m "clients or not clients" --junitxml=build/clients.xml tests/clients
	$(BIN)/python -m tests.clients.table build/clients.xml

bench: $(DEV) ## measure accepted and completed jobs per second, compared with references
	$(BIN)/python -m bench.submit_to_done

bench-check: $(DEV) ## run each benchmark in its smallest form, to check that it still works
	$(BIN)/python -m bench.submit_to_done --rounds 1 --jobs 8 --connections 2 --seconds 0.2 --singles 2 --batches 1
	$(BIN)/python -m bench.queue_length --rounds 1 --depth 2000 --claims 3 --bulk 10 --churn 20
	$(BIN)/python -m bench.batch --only insert memory wait groups --rounds 1 --lines 50 --megabytes 1 --samples 2 --microbatches 1
	$(BIN)/python -m bench.estimates --first 1 --jobs 2
	$(BIN)/python -m bench.webhooks --rounds 1 --deliveries 16 --events 5 --hanging 3 --pause 0.01

train: $(TRAINING) ## train the bundled model from scratch: hours of CPU; continues where it stopped; needs npm for the artwork
	$(BIN)/python -m training all

judge: $(TRAINING) ## score the images of the trained model, by a judge that was trained separately
	$(BIN)/python -m training data judge sample

clean: ## remove the environment and all caches; data in .safelight/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name one, as in 'make up PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Safelight needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): name another, as in 'make up PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) lacks its venv module: install it (Debian, Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }
	@echo "Making $(VENV)/ and installing: the first time takes some minutes and about 2 GB of disk (8 GB with torch's CUDA build)."
	@$(PYTHON) -m venv $(VENV)

# Only torch comes from TORCH_INDEX; its dependencies come with the next step, from the default index.
$(VENV)/.installed-torch: constraints.txt | $(BIN)/pip
	@echo "Installing torch ..."
	@$(PIP) --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(RUN): pyproject.toml constraints.txt | $(VENV)/.installed-torch
	@echo "Installing Safelight ..."
	@$(PIP) -e '.[api,worker,openai,mcp,cli,embedded]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(VENV)/.installed-torch
	@echo "Installing Safelight and the tools to work on it ..."
	@$(PIP) -e '.[dev]'
	@touch $@

$(TRAINING): pyproject.toml constraints.txt | $(VENV)/.installed-torch
	@echo "Installing Safelight and what training needs ..."
	@$(PIP) -e '.[dev,training]'
	@touch $@
