# make demo | test | lint | fix | bench. Each sets up .venv by itself: Python 3.11 or later and PyPI are all it takes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test testall test-targets lint fix bench clean

# Python keeps compiled modules, also where the environment says it should not: tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PAIMON := .venv-paimon
LEROBOT := .venv-lerobot
DEMO_STORE ?= demo-store

help:            ## what there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

$(READY): pyproject.toml
	@python=""; \
	for candidate in "$${PYTHON:-}" python3.11 python3.12 python3.13 python3 python; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "Python 3.11 or later is needed, and none was found. Fix: install it, or name it with PYTHON=/path/to/python3.11 make ..." >&2; exit 1; fi; \
	if [ ! -x $(BIN)/python ]; then \
	  echo "Setting up $(VENV) with $$("$$python" --version) (about two minutes, once) ..." >&2; \
	  "$$python" -m venv $(VENV) || { echo "Fix: your Python has no venv module; on Debian and Ubuntu it is the package python3-venv." >&2; exit 1; }; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@touch $@

demo: $(READY)   ## render sample footage, curate it, write the report
	$(BIN)/rushes demo --out $(DEMO_STORE)

test: $(READY)   ## the tests; real footage is used where RUSHES_DATA or ../shared/data has it
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder -m "not slow"

testall: $(READY) ## the same and the slow tests: variants of others, and what takes minutes
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder

$(PAIMON)/.ready: $(READY)
	$(BIN)/python -m venv $(PAIMON)
	$(PAIMON)/bin/pip install --quiet --disable-pip-version-check 'pypaimon[daft]==2.1.*'
	@touch $@

$(LEROBOT)/.ready: $(READY)
	$(BIN)/python -m venv $(LEROBOT)
	$(LEROBOT)/bin/pip install --quiet --disable-pip-version-check 'lerobot==0.4.4'
	@touch $@

test-targets: $(READY) $(PAIMON)/.ready $(LEROBOT)/.ready ## the tests of published targets whose loaders need a Python of their own (pypaimon, lerobot)
	RUSHES_PAIMON_PYTHON=$(CURDIR)/$(PAIMON)/bin/python $(BIN)/python -m pytest tests/test_publish_paimon.py tests/test_publish_kills.py -k paimon
	RUSHES_LEROBOT_PYTHON=$(CURDIR)/$(LEROBOT)/bin/python $(BIN)/python -m pytest tests/test_publish_lerobot.py

lint: $(READY)   ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY)    ## what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## the figures of benchmarks/README.md, measured anew
	$(BIN)/python -m benchmarks

clean:           ## remove what make made
	rm -rf $(VENV) $(PAIMON) $(LEROBOT) $(DEMO_STORE) $(DEMO_STORE)-footage .pytest_cache .mypy_cache .ruff_cache
