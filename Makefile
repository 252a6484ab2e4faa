# Everything here builds what it needs in .venv; git, make and Python 3.11+ are enough.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin

# The suite runs on every core, with one process more, since some tests wait; PYTEST_ARGS goes behind this, so
# `make test PYTEST_ARGS="-n 0 -k word"` runs in one process.
SHARED_OUT = -n $(shell expr $$(getconf _NPROCESSORS_ONLN || echo 2) + 1) --dist loadfile --no-loadscope-reorder

# Tests start some hundred processes: without compiled modules on disk each of them compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test coverage lint format docs bench clean

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer (with venv) is needed and was not found; name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing pyconnector into $(VENV); the first time this takes half a minute" >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast]' \
		|| echo "the extra 'fast' has no wheel for this platform; going on without it" >&2
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing what the tests need into $(VENV)" >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,mesh]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev
	scripts/ensure-postgres
	scripts/ensure-iproute2
	scripts/ensure-wireguard
	$(BIN)/python -m pytest $(SHARED_OUT) $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.docs: $(VENV)/.core
	@echo "Installing what the docs site needs into $(VENV)" >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

coverage: $(VENV)/.dev
	scripts/ensure-postgres
	scripts/ensure-iproute2
	scripts/ensure-wireguard
	$(BIN)/python -m pytest $(SHARED_OUT) --cov --cov-report=term $(PYTEST_ARGS)

docs: $(VENV)/.docs
	$(BIN)/mkdocs build
	@echo "build/site/index.html" >&2

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(BENCH_ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
