# Everything happens in a virtual environment of its own; nothing outside this folder is touched but the data cache.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SOURCES := src tests benchmarks scripts examples
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	$$($(PYTHON) scripts/cpu_index.py) --editable
DOCS = $(BIN)/sphinx-build -W --keep-going -q docs build/docs

.PHONY: help train test check lint soak zoo docs bench sizes clean

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*##/\1/p' Makefile | awk '{name = $$1; $$1 = ""; printf "%-6s %s\n", name, $$0}'

train: $(VENV)/.installed  ## Fetch MNIST, train it as actors, show the result
	$(BIN)/akkordeon run mnist

test: $(VENV)/.installed-dev  ## All that CI runs; NO_NETNS=1 leaves out what needs several hosts and root, NO_BROWSER=1 Chromium
	sh scripts/system_packages.sh
	$(MAKE) --no-print-directory -j 2 lint docs
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: lint  ## The quick one while you work
	$(BIN)/pytest -q -n 2 -m "not machines" tests --ignore tests/properties --ignore tests/system

lint: $(VENV)/.installed-dev  ## What can be told without running anything
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/sizes.py

soak: $(VENV)/.installed-dev  ## Simulate 100,000 networks under faults: hours
	$(BIN)/python -m tests.properties.simulation.soak

zoo: $(VENV)/.installed-dev  ## Train strangers' models both ways, and compare: some ten minutes
	$(BIN)/python -m tests.strangers.zoo

docs: $(VENV)/.installed-dev  ## Build the documentation: build/docs/index.html
	$(DOCS)

bench: $(VENV)/.installed-dev  ## Measure the figures of speed again: about four hours
	$(BIN)/python -m benchmarks.core
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.throughput --figure
	$(BIN)/python -m benchmarks.uneven
	$(BIN)/python -m benchmarks.uneven --figure
	$(BIN)/python -m benchmarks.accuracy --tune
	$(BIN)/python -m benchmarks.accuracy

sizes: $(VENV)/.installed-dev  ## Count lines of code, and check the budgets
	$(BIN)/python scripts/sizes.py

clean:  ## Remove the environment and all caches in this folder
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) '.[page]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) '.[dev]'
	touch $(VENV)/.installed $@
