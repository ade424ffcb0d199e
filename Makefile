# make demo   set everything up in .venv, then show what this is: molecules, a short training, pages to look at
# make test   set everything up in .venv, then check style, types, layers, and run every test
#
# Needed: Python 3.11 or newer, pip, git, make.  UV=1 uses uv to install, which is faster.  CUDA: see the README.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ok
TORCH := torch==2.13.0
PYTHONS := python3.11 python3.12 python3.13 python3

unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help demo test lint types layers pytest clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make\|Needed\)/\1/p' Makefile

demo: $(STAMP)
	$(BIN)/scidiff demo

test: lint types layers pytest

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/pyright -p pyproject.toml

layers: $(STAMP)
	$(BIN)/lint-imports --no-cache

pytest: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile

clean:
	rm -rf $(VENV)

# The environment is made anew when what is to be installed changes. The stamp comes last: an interrupted set-up is no set-up.
$(STAMP): pyproject.toml
ifdef UV
	test -x $(BIN)/python || uv venv --python '>=3.11' $(VENV)
	uv pip install --python $(BIN)/python $(TORCH)
	uv pip install --python $(BIN)/python -e '.[all]'
else
	@test -x $(BIN)/python || { \
	  for python in $(PYTHON) $(PYTHONS); do \
	    if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      echo "making $(VENV) with $$python"; exec $$python -m venv $(VENV); \
	    fi; \
	  done; \
	  echo "No Python 3.11 or newer (with venv) is found. Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	$(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install -e '.[all]'
endif
	@touch $(STAMP)
