# make demo   set everything up in .venv, then show what this is: molecules, a short training, forecasts, one page to look at
# make test   set everything up in .venv, then check style, types, layers, and run every test
# make gluonts  set GluonTS up in .venv-gluonts (it needs pandas before 3), then run the time-series tests there, with GluonTS' own evaluation
#
# Needed: Python 3.11 or newer, pip, git, make.  UV=1 uses uv to install, which is faster.  CUDA: see the README.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ok
GLUONTS := .venv-gluonts
ALL := .[all]
SOME := .[timeseries,gluonts,test]
TORCH := torch==2.13.0
PYTHONS := python3.11 python3.12 python3.13 python3

unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help demo test lint types layers pytest gluonts clean
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

gluonts: $(GLUONTS)/.ok
	$(GLUONTS)/bin/python -m pytest -n auto --dist loadfile tests/interop tests/timeseries

clean:
	rm -rf $(VENV) $(GLUONTS)

# $(call environment,FOLDER,PACKAGE): a virtual environment with PyTorch and the package.
ifdef UV
define environment
	test -x $(1)/bin/python || uv venv --python '>=3.11' $(1)
	uv pip install --python $(1)/bin/python $(TORCH)
	uv pip install --python $(1)/bin/python -e '$(2)'
endef
else
define environment
	@test -x $(1)/bin/python || { \
	  for python in $(PYTHON) $(PYTHONS); do \
	    if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      echo "making $(1) with $$python"; exec $$python -m venv $(1); \
	    fi; \
	  done; \
	  echo "No Python 3.11 or newer (with venv) is found. Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	$(1)/bin/python -m pip install $(TORCH)
	$(1)/bin/python -m pip install -e '$(2)'
endef
endif

# An environment is made anew when what is to be installed changes. The stamp comes last: an interrupted set-up is no set-up.
$(STAMP): pyproject.toml
	$(call environment,$(VENV),$(ALL))
	@touch $@

$(GLUONTS)/.ok: pyproject.toml
	$(call environment,$(GLUONTS),$(SOME))
	@touch $@
