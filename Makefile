# Two commands do everything on a fresh machine: `make run` and `make test`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
BIN := .venv/bin
PORT := 4200
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true

# What differs from params.yaml for the second bundled sample; docs/temperature.md gives the reasons.
TEMPERATURE := \
  -S 'ingest.pattern=era5_*.nc' \
  -S 'ingest.variables=[{name: t2m, channel: null, units: degC, file_units: null, select: {}, valid_min: null, valid_max: null}]' \
  -S 'ingest.coarsen=1' \
  -S 'clip.frames_in=6' \
  -S 'normalize.train_fraction=0.6' \
  -S 'normalize.validation_fraction=0.2' \
  -S 'normalize.gap=24' \
  -S '~normalize.transforms.rain_rate' \
  -S '+normalize.transforms.t2m=[{kind: anomaly, hour_of_day: true, harmonics: 0}]' \
  -S '~normalize.standardize.rain_rate' \
  -S '+normalize.standardize.t2m=global' \
  -S 'crops.window=16' \
  -S 'crops.stride=5' \
  -S 'train.mirror=false' \
  -S 'train.rescale=1.0' \
  -S 'evaluate.baselines=[persistence, climatology, persistent_anomaly, advection]' \
  -S '~evaluate.thresholds.rain_rate' \
  -S '+evaluate.thresholds.t2m=[5.0, 10.0]' \
  -S 'evaluate.fss_scale=5'

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: $(BIN)/.installed  ## install, run the six stages on the data in data/raw, print the table of results
	dvc repro
	@physicnet table
	@echo "All runs, their curves and figures, in MLflow:  $(BIN)/physicnet ui"

temperature: $(BIN)/.installed  ## the same with hourly 2 m temperature in place of radar; docs/temperature.md says how to get back
	dvc exp run $(TEMPERATURE)
	@physicnet table

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
	pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

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

.PHONY: help run temperature serve stop rehearsal test check figures
