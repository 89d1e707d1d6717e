# The two commands of a newcomer are `make demo` and `make test`. Both install first what is missing, and a second time
# nothing is fetched. On Debian and Ubuntu system packages come from apt; elsewhere a sentence says what to install.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# A copy of what was installed: a newer date alone, as after `git checkout`, installs nothing.
INSTALLED := $(VENV)/installed.toml
WORKERS ?= auto
# The MLPerf Tiny networks, which `make bench` measures.
MODELS := $(or $(TINYCOMPILER_MODELS),../shared/models)

.DEFAULT_GOAL := help
.PHONY: help demo test fast lint format bench readme install python host clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo     a real network compiled, fitted, run on two emulated boards, and proven equal to its reference'
	@echo 'make test     every test (a few minutes)'
	@echo 'make fast     the quick tests, without emulator or compiler (20 seconds)'
	@echo 'make lint     ruff and mypy'
	@echo 'make format   ruff format'
	@echo 'make bench    measures the networks of the tests anew: tests/bench.json, from which make readme takes figures'
	@echo 'make readme   brings the generated tables in README.md up to date'
	@echo 'make clean    removes what was built, .venv included'

demo: install
	@$(BIN)/python tools/demo.py

test: install host
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --hypothesis-profile full

fast: python
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not emulator and not slow'

lint: python
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: python
	$(BIN)/ruff format .

bench: install
	$(BIN)/tinycompiler bench tests/models/digits.tflite $(patsubst %,$(MODELS)/%.tflite,kws vww ic ad) --json tests/bench.json

readme: python
	$(BIN)/python tools/readme_tables.py

# .venv with the package, and the cross compiler.
install: python
	@tools/packages.sh arm

python: $(INSTALLED)

host:
	@tools/packages.sh host

$(INSTALLED): pyproject.toml
	@if cmp -s pyproject.toml $@; then touch $@; else \
		tools/packages.sh python "$(PYTHON)" && \
		{ test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV); } && \
		echo 'installing the Python package and its tools into $(VENV): some 550 MB, a minute or two' && \
		$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]' && \
		cp pyproject.toml $@; fi

clean:
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
