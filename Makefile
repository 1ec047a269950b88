# Two commands do everything on a fresh machine: `make run` and `make test`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
BIN := .venv/bin
PORT := 4200
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true

# What differs from params.yaml for a data set is in sets/, an override of DVC's a line; docs/sets.md has the reasons.
SETS := $(patsubst sets/%.txt,%,$(wildcard sets/*.txt))

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: $(BIN)/.installed  ## install, run the six stages on the data in data/raw, print the table of results
	dvc repro
	@physicnet table
	@echo "All runs, their curves and figures, in MLflow:  $(BIN)/physicnet ui"

set: $(BIN)/.installed  ## the same with the parameters of a data set: NAME=gray-scott, OPTIONS=--temp; docs/sets.md lists them
	@[ -f "sets/$(NAME).txt" ] || { echo "NAME=$(NAME): no such set; there are $(SETS)" >&2; exit 1; }
	settings=(); while IFS= read -r line; do settings+=(-S "$$line"); done < <(grep -v '^#' "sets/$(NAME).txt"); \
	  dvc exp run "$${settings[@]}" $(OPTIONS)
	@physicnet table

temperature: NAME := temperature
temperature: set  ## the set of hourly 2 m temperature in place of radar; docs/temperature.md says how to get back

serve: $(BIN)/.installed  ## start a Prefect server on 127.0.0.1, a worker and the deployments; PORT=4200 NOTIFY=slack-webhook/ops
	python -m flows.service start --port $(PORT) $(if $(NOTIFY),--notify $(NOTIFY))

stop: $(BIN)/.installed  ## end what `make serve` has started
	python -m flows.service stop

rehearsal: $(BIN)/.installed  ## the bundled radar day arrives again: collect, forecast, verify, retrain, promote, in minutes
	python -m flows.rehearsal

test: $(BIN)/.installed  ## install, run the gate: format, lint, types, import layers, tests
	@$(MAKE) --no-print-directory check

check: $(BIN)/.installed  ## the gate, on what is installed
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

figures: $(BIN)/.installed  ## redraw the figures and the table of the README from the last run
	python docs/draw_architecture.py
	python docs/write_results.py

# uv installs in a tenth of pip's time; pip is the way that works wherever uv does not.
# uv does not read pip's settings, so a folder of wheels that pip is told of is handed on. Bytecode is compiled now, as
# pip does: where Python is told to keep none, every stage would compile thousands of modules anew, for half of its time.
$(BIN)/.installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/pip install --quiet uv
	UV_FIND_LINKS="$$($(BIN)/pip config get global.find-links 2>/dev/null | paste -sd, -)" \
	  $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]' \
	  || $(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -q physicnet flows
	@touch $@

.PHONY: help run set temperature serve stop rehearsal test check figures
