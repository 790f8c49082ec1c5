# One command for each habit; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# Tests of real processes mostly wait: more of them at a time than there are cores.
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadscope
UV := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fast lint format types imports check test-lowest hunt soak model bench-matching bench-replication bench-grape clean

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
	@COVERAGE_FILE=$(CURDIR)/.coverage $(PYTEST) -m 'not slow' --cov --cov-report=term

test-fast: $(STAMP)  ## the tests that start no processes, without coverage
	@$(PYTEST) -m 'not slow and not e2e'

test-lowest:  ## the tests on the oldest dependencies allowed (needs uv)
	@uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)-lowest
	@uv pip install --quiet --resolution lowest-direct --python $(VENV)-lowest/bin/python --editable . --group test
	@$(VENV)-lowest/bin/python -m pytest -n 4 --dist loadscope -m 'not slow'

lint: $(STAMP)  ## ruff: rules and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(STAMP)  ## ruff: fix what can be fixed
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: $(STAMP)  ## mypy --strict on the package, the tests and the examples
	@$(BIN)/mypy

imports: $(STAMP)  ## who may import whom (import-linter)
	@$(BIN)/lint-imports

SEEDS_OF ?= $(shell git rev-parse HEAD 2>/dev/null || echo released)
HUNT_SECONDS ?= 120

hunt: $(STAMP)  ## two minutes of simulated groups from seeds made of the commit (HUNT_SECONDS=...)
	@$(BIN)/dhtex simulate --seeds-of $(SEEDS_OF) --seeds 1000000 --seconds $(HUNT_SECONDS) --jobs 2

soak: $(STAMP)  ## an hour of them, from seeds nobody has run, and every test marked slow
	@$(BIN)/dhtex simulate --seeds-of "$(SEEDS_OF) $$(date +%s)" --seeds 10000000 --seconds 3600 --jobs 2
	@$(BIN)/python -m pytest -m slow

model:  ## check the formal model of the order (needs spin and a C compiler)
	@docs/model/check.sh

check: lint types imports test  ## everything CI runs

# matching-engine needs Python 3.12, so its comparison has an environment of its own. A name on the path may be a shim that
# starts nothing, so each is tried.
BENCH_PYTHON ?= $(firstword $(foreach python,python3.13 python3.12 $(wildcard $(HOME)/.pyenv/versions/3.1[23].*/bin/python3),$(shell $(python) -c '' 2>/dev/null && echo $(python))) $(PYTHON))
bench-matching:  ## the matching engine beside others from PyPI, and the plot of its cost
	@test -x .venv-matching/bin/python || $(BENCH_PYTHON) -m venv .venv-matching
	@.venv-matching/bin/python -m pip install --quiet --disable-pip-version-check msgpack matplotlib pyorderbook \
		lightmatchingengine order-matching pandera polars
	@.venv-matching/bin/python -m pip install --quiet --disable-pip-version-check matching-engine \
		|| echo "matching-engine needs Python 3.12; say which with: make BENCH_PYTHON=python3.12 bench-matching"
	@PYTHONPATH=src .venv-matching/bin/python benchmarks/matching.py --json .venv-matching/figures.json
	@.venv-matching/bin/python benchmarks/plot_matching.py .venv-matching/figures.json docs/explanation/matching-cost.svg

BENCH_OPTIONS ?=
bench-replication:  ## orders final on three processes, beside PySyncObj, JetStream and etcd (BENCH_OPTIONS="--uvloop")
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable . pysyncobj nats-py grpcio uvloop
	@command -v etcd >/dev/null || echo "etcd is not here: apt install etcd-server"
	@command -v nats-server /usr/sbin/nats-server >/dev/null || echo "JetStream is not here: apt install nats-server"
	@.venv-bench/bin/python benchmarks/replication.py $(BENCH_OPTIONS)

bench-grape:  ## a Grape beside the original from npm (needs wrk; node and npm for the original; BENCH_OPTIONS="--seconds 1")
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable . uvloop
	@.venv-bench/bin/python benchmarks/grape.py $(BENCH_OPTIONS)

clean:  ## remove what the other commands made
	@rm -rf $(VENV) .venv-bench .venv-matching $(VENV)-lowest .coverage* htmlcov .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis dist
