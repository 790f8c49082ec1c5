# One command for each habit; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
UV := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fast coverage lint format types imports check test-lowest clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

venv: $(STAMP)  ## make or refresh the virtual environment from pyproject.toml

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("dhtex needs Python 3.11 or later, this is " + sys.version.split()[0] + "; say which to use with: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "setting up $(VENV) ..."
ifdef UV
	@uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	@uv pip install --quiet --python $(BIN)/python --editable . --group dev
else
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
endif
	@touch $@

demo: $(STAMP)  ## two Grapes, three peers, a minute of trading told in plain lines
	@$(BIN)/dhtex demo

test: $(STAMP)  ## every test but the long hunts
	@COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/python -m coverage run -m pytest -m 'not slow'
	@$(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage report | tail -n 40

test-fast: $(STAMP)  ## the tests that start no processes, without coverage
	@$(BIN)/python -m pytest -m 'not slow and not e2e'

test-lowest:  ## the tests on the oldest dependencies allowed (needs uv)
	@uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)-lowest
	@uv pip install --quiet --resolution lowest-direct --python $(VENV)-lowest/bin/python --editable . --group test
	@$(VENV)-lowest/bin/python -m pytest -m 'not slow'

lint: $(STAMP)  ## ruff: rules and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(STAMP)  ## ruff: fix what can be fixed
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: $(STAMP)  ## mypy --strict on the package, the tests and the examples
	@$(BIN)/mypy

imports: $(STAMP)  ## who may import whom (import-linter)
	@$(BIN)/lint-imports

check: lint types imports test  ## everything CI runs

clean:  ## remove what the other commands made
	@rm -rf $(VENV) $(VENV)-lowest .coverage* htmlcov .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis dist
