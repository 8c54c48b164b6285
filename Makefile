# All targets need python3 (3.11 or newer) and make. `make` alone lists them.

PYTHON ?= python3
# Which build of torch: `cpu` or `cuda`. Empty: on Linux, `cuda` where there is an NVIDIA device, else `cpu`, which saves 5 GB.
TORCH ?=
NVIDIA_DEVICES := $(wildcard /dev/nvidiactl /dev/nvidia[0-9]*)
# Where the CPU build comes from. If this index cannot be reached, torch comes from the default one.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
$(if $(TORCH_INDEX),$(error TORCH_INDEX is now TORCH_CPU_INDEX, and `make up` chooses the build of torch itself (TORCH=cpu, TORCH=cuda)))
# Options for pip: `make up QUIET=-qq` shows less of what it does.
QUIET ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --no-input --disable-pip-version-check $(QUIET) -c constraints.txt

# Whether a page answers within some seconds: pip itself would try for minutes.
CAN_REACH := $(BIN)/python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=10)' 2>/dev/null

# Stamp files of what is installed. A stamp is out of date when a requirement changes; else a second run installs nothing.
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
TRAINING := $(VENV)/.installed-training
PEERS := $(VENV)/.installed-peers

.DEFAULT_GOAL := help
.PHONY: help up install dev guide test lint format types slow hostile clients families bench bench-check bench-device train judge clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Variables: PYTHON=python3.12 (which Python), TORCH=cpu|cuda (which build of torch), QUIET=-qq (a quiet pip).'

up: $(RUN) ## install, start everything, say how to post the first prompt
	-@$(BIN)/python docs/guide.py
	@$(BIN)/safelight up

install: $(RUN) ## install what is needed to run Safelight, and start nothing

dev: $(DEV) ## install what is needed to change Safelight

guide: $(RUN) ## build the site of the documentation, which the API serves at /guide
	$(BIN)/python docs/guide.py

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

clients: $(DEV) ## run our client for TypeScript, and image clients from the package index, and write docs/clients.md: some minutes
	$(BIN)/pytest -q -m "clients or not clients" -o junit_family=xunit1 --junitxml=build/clients.xml tests/clients
	$(BIN)/python -m tests.clients.table build/clients.xml

families: $(DEV) ## draw with a tiny pipeline of every model family, and write docs/reference/models.md: minutes
	$(BIN)/python -m tests.families.table

bench: $(DEV) $(PEERS) ## measure every promise beside references and peers, and write docs/05-performance.md: some forty minutes
	$(BIN)/python -m bench --write

bench-device: $(DEV) ## measure this machine's device: micro-batches, ways to load a model, little memory, the whole service
	$(BIN)/python -m bench.device

bench-check: $(DEV) ## run each benchmark in its smallest form, to check that it still works
	$(BIN)/python -m bench.submit_to_done --rounds 1 --jobs 8 --connections 2 --seconds 0.2 --singles 2 --batches 1
	$(BIN)/python -m bench.queue_length --rounds 1 --depth 2000 --claims 3 --bulk 10 --churn 20
	$(BIN)/python -m bench.batch --only insert memory wait groups --rounds 1 --lines 50 --megabytes 1 --samples 2 --microbatches 1
	$(BIN)/python -m bench.estimates --first 1 --jobs 2
	$(BIN)/python -m bench.webhooks --rounds 1 --deliveries 16 --events 5 --hanging 3 --pause 0.01
	$(BIN)/python -m bench.idle --seconds 2 --rest 1
	$(BIN)/python -m bench.studio --jobs 200 --rounds 2 --cards 4 --seconds 1
	$(BIN)/python -m bench.processor_time --rounds 1 --requests 20 --connections 2
	$(BIN)/python -m bench.worker_time --rounds 1 --jobs 64
	$(BIN)/python -m bench.curves --seconds 0.2 --batches 1
	$(BIN)/python -m bench.history --jobs 2000 --rounds 1 --claims 3
	$(BIN)/python -m bench.memory --jobs 400 --rounds 4
	$(BIN)/python -m bench.capacity --singles 50 --batch 100
	$(BIN)/python -m bench.device --only sweep service --batches 1

train: $(TRAINING) ## train the bundled model from scratch: hours of CPU; continues where it stopped; needs npm for the artwork
	$(BIN)/python -m training all

judge: $(TRAINING) ## score the images of the trained model, by a judge that was trained separately
	$(BIN)/python -m training data judge sample

clean: ## remove the environment and all caches; data in .safelight/ stays
	rm -rf $(VENV) build dist api/guide/site *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name one, as in 'make up PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Safelight needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): name another, as in 'make up PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) lacks its venv module: install it (Debian, Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }
	@echo "Making $(VENV)/"
	@$(PYTHON) -m venv $(VENV)

# Only torch comes from another index; its dependencies come with the next step, from the default index. A torch of the
# pinned version that is there already stays.
$(VENV)/.installed-torch: constraints.txt | $(BIN)/pip
	@kind="$(TORCH)"; \
	if [ -z "$$kind" ] && [ "$$(uname -s)" = Linux ]; then \
	  if [ -n "$(NVIDIA_DEVICES)" ] || nvidia-smi -L >/dev/null 2>&1; then kind=cuda; else kind=cpu; fi; \
	fi; \
	case "$$kind" in \
	  cpu) echo "Installing torch for the CPU (TORCH=cuda for NVIDIA devices): about 200 MB to download, then half a minute to unpack." ;; \
	  cuda) echo "Installing torch for NVIDIA devices (TORCH=cpu for none): several GB to download, then minutes to unpack." ;; \
	  '') echo "Installing torch" ;; \
	  *) echo "TORCH is '$$kind': set it to cpu or cuda." >&2; exit 1 ;; \
	esac; \
	if [ "$$kind" = cpu ] && $(CAN_REACH) "$(TORCH_CPU_INDEX)/torch/" \
	    && $(PIP) --no-deps --index-url "$(TORCH_CPU_INDEX)" torch; then :; \
	else \
	  if [ "$$kind" = cpu ]; then echo "Nothing came from $(TORCH_CPU_INDEX), so torch comes from the default index."; fi; \
	  $(PIP) --no-deps torch; \
	fi
	@touch $@

$(RUN): pyproject.toml setup.py constraints.txt | $(VENV)/.installed-torch
	@echo "Installing Safelight ..."
	@$(PIP) -e '.[all,guide]'
	@touch $@

$(DEV): pyproject.toml setup.py constraints.txt | $(VENV)/.installed-torch
	@echo "Installing Safelight and the tools to work on it ..."
	@$(PIP) -e '.[dev]'
	@touch $@

$(TRAINING): pyproject.toml setup.py constraints.txt | $(VENV)/.installed-torch
	@echo "Installing Safelight and what training needs ..."
	@$(PIP) -e '.[dev,training]'
	@touch $@

$(PEERS): bench/peers/requirements.txt bench/peers/build-constraints.txt $(DEV)
	@echo "Installing what Safelight is compared with ..."
	@PIP_CONSTRAINT=bench/peers/build-constraints.txt $(BIN)/python -m pip install --no-input --disable-pip-version-check $(QUIET) -r bench/peers/requirements.txt
	@touch $@
