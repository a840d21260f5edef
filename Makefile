# make example | test | lint | docs | bench: each makes .venv first, with what it needs in the pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: example test lint docs bench clean

example: $(READY)
	$(BIN)/python examples/lightning_digits.py $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build --fail-on-warning --fresh-env docs docs/_build

bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

# Debian's pip is too old for dependency groups, and an environment made by another Python must not be added to:
# so the environment is made from nothing, and pip comes first.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[examples]" --group dev
	touch $@

clean:
	rm -rf $(VENV) docs/_build outputs
