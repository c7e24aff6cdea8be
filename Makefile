# `make help` lists everything. The environment is made on first use; PIP_ARGS passes options to
# pip, for example an index of CPU builds of torch.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo convert test test-slow lint bench clean

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
CONFIG ?= configs/inception_v4.yaml
TARGET ?= all
PIP := $(PY) -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) -c constraints.txt

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 17
	@echo
	@echo "for demo and convert: TARGET=sl1680|sl1640|all (default: all), ARGS=options of"
	@echo "'pipeline run'; for convert also CONFIG=recipe ($(CONFIG)),"
	@echo "WEIGHTS=file, DATA=folder of images"

setup: $(VENV)/.installed  ## Make the environment in .venv (PYTHON=, PIP_ARGS=)

setup-dev: $(VENV)/.installed-dev  ## The same with what tests and linting need

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14)))' \
	  || { echo "error: $(PYTHON) is not Python 3.11 to 3.13; give one with PYTHON=python3.11" >&2; exit 3; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(PY)
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(PY)
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed  ## The whole chain on a model trained here, without a download
	@$(PY) -m pipeline run configs/inception_v4_digits.yaml --target '$(TARGET)' $(ARGS)

convert: $(VENV)/.installed  ## A model to .synap files, as a recipe says
	@$(PY) -m pipeline run '$(CONFIG)' --target '$(TARGET)' \
	  $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(DATA),--data '$(DATA)') $(ARGS)

test: $(VENV)/.installed-dev  ## The quick tests
	$(PY) -m pytest -q -m 'not slow' -n 2 --dist loadfile

test-slow: $(VENV)/.installed-dev  ## The tests on models of full size
	$(PY) -m pytest -q -m slow

lint: $(VENV)/.installed-dev  ## ruff and mypy --strict
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(VENV)/.installed  ## What things cost, to artifacts/bench.json
	$(PY) -m benchmarks $(ARGS)

clean:  ## Remove results and the store, not the environment
	find artifacts -mindepth 1 -maxdepth 1 ! -name .gitignore -exec rm -rf {} +
