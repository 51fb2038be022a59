# demo, demo-encoder: the whole walk on this machine, with a translator or a classifier.  test: the default suite.  lint: style, types, import rules, number of lines.  docs: the site.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

# Where nothing keeps bytecode, each process compiles all of torch that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-encoder test lint docs

demo: $(VENV)/.with-demo
	$(BIN)/mosdeploy demo

demo-encoder: $(VENV)/.with-demo-encoder
	$(BIN)/mosdeploy demo --recipe minilm-l6 --dir demo-encoder

# Two processes share the suite. Line coverage, which .ci/run adds, makes it a third longer.
test: $(VENV)/.with-demo,dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.with-demo,dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/count_lines.py

docs: $(VENV)/.with-docs
	$(BIN)/mkdocs build --strict

# One stamp for each set of extras, so that nothing is installed again until pyproject.toml changes. Without --no-compile
# pip compiles every file of torch, and half of the time goes there; Python compiles what it imports anyway.
$(VENV)/.with-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[$*]'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
