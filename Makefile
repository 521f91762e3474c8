# The only entry to this project. `make help` lists what it can do.
# Needs python3 (3.11 or newer) with venv, and make; everything else goes into .venv.

PYTHON ?= python3
LAB_ARGS ?=
PYTEST_ARGS ?= -n logical --maxprocesses 4
LOCK_ARGS ?=

PY := .venv/bin/python
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-input

.PHONY: help lab test check bench format docs notebooks lock clean
.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-17s%s\n", $$1, $$2 }'

# Installed once, and again when the lock or the package's own metadata change.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("tee_sim needs Python 3.11 or newer, this is %s" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "Installing into .venv, once (a minute or two) ..." >&2
	@$(PYTHON) -m venv .venv
	@$(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@mkdir -p .venv/share/jupyter/lab/settings
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
	    > .venv/share/jupyter/lab/settings/overrides.json
	@touch $@

lab: .venv/.installed ## open the course in JupyterLab (LAB_ARGS=--no-browser and the like)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(PY) -m jupyterlab --ServerApp.root_dir=. $(LAB_ARGS) notebooks/00_start_here.ipynb

# Each notebook is a run of its own: nbval would split a notebook's cells over parallel workers.
test: .venv/.installed ## the whole suite, notebooks included
	@$(PY) -m pytest $(PYTEST_ARGS)
	@printf '%s\n' notebooks/*.ipynb | xargs -n 1 -P 2 $(PY) -m pytest -q --no-header --nbval \
	    --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg

check: .venv/.installed ## format, lint, types, spelling, then the whole suite; what CI runs
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m codespell_lib
	@$(MAKE) --no-print-directory test

bench: .venv/.installed ## measure; one JSON object on standard output
	@$(PY) benchmarks/bench.py

format: .venv/.installed ## rewrite the sources in the project's format
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

docs: .venv/.installed ## collect docs/simplifications.md from the docstrings
	@$(PY) docs/collect_simplifications.py

notebooks: .venv/.installed ## run every notebook and store its outputs
	@$(PY) docs/run_notebooks.py

# --fork-strategy fewest: one version of each package for every system and every Python.
lock: ## resolve pyproject.toml again into requirements.lock (LOCK_ARGS=--upgrade for newer versions)
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	@build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --fork-strategy fewest --no-emit-index-url --custom-compile-command 'make lock' \
	    --all-extras $(LOCK_ARGS) pyproject.toml --output-file requirements.lock

clean: ## remove .venv, caches and build products
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find tee_sim tests benchmarks docs notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) \
	    -prune -exec rm -rf {} +
