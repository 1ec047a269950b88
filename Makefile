# Two commands do everything on a fresh machine: `make run` and `make test`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: $(BIN)/.installed  ## install, run the six stages on the data in data/raw, print the table of results
	dvc repro
	@physicnet table
	@echo "All runs, their curves and figures, in MLflow:  $(BIN)/physicnet ui"

test: $(BIN)/.installed  ## install, run the gate: format, lint, types, import layers, tests
	@$(MAKE) --no-print-directory check

check: $(BIN)/.installed  ## the gate, on what is installed
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	pytest

figures: $(BIN)/.installed  ## redraw the figures and the table of the README from the last run
	python docs/draw_architecture.py
	python docs/write_results.py

# uv installs in a tenth of pip's time; pip is the way that works wherever uv does not.
# uv does not read pip's settings, so a folder of wheels that pip is told of is handed on.
$(BIN)/.installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/pip install --quiet uv
	UV_FIND_LINKS="$$($(BIN)/pip config get global.find-links 2>/dev/null | paste -sd, -)" \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]' \
	  || $(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: help run test check figures
