# make demo: invert, reconstruct and edit a real image with the bundled model.   make test: run the tests.
# make test-hostile: try thousands of damaged files, which is a part of its own.
# make evaluate: measure what each part of the method adds, on a few images.
# Each sets up .venv first, which takes some minutes the first time and nothing after that.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# "source" installs this checkout in place; "wheels" installs what `make wheels` built, as CI does.
FROM ?= source
PACKAGES_source := -e .[evaluation] -e packages/renoise-mini
PACKAGES_wheels := $(addsuffix [evaluation],$(wildcard dist/renoise-[0-9]*.whl)) $(wildcard dist/renoise_mini-*.whl)
SOURCES := src tests packages training benchmarks examples

.PHONY: help install demo test test-fast test-hostile evaluate lint types check format wheels clean

help:
	@echo "make demo      edit a real image with the bundled model"
	@echo "make test      run the tests;  make test-fast: without those that take seconds"
	@echo "make test-hostile  try thousands of damaged files"
	@echo "make evaluate  reproduce a small table of what each part of the method adds"
	@echo "make install   set up .venv (the others do it when it is due)"
	@echo "make check     lint and types;  make format: mend the formatting;  make wheels: build dist/"

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt requirements-dev.txt packages/renoise-mini/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "renoise needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt $(PACKAGES_$(FROM))
	@touch $@

demo: install
	@$(BIN)/python examples/demo.py --out demo

test: install
	$(BIN)/pytest -n auto --dist worksteal -m "not hostile"

test-fast: install
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

test-hostile: install
	$(BIN)/pytest -n auto --dist worksteal -m hostile

evaluate: install
	$(BIN)/renoise evaluate table2 --model mini-turbo --limit 16 --out evaluation/table2-mini-turbo

lint: install
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: install
	$(BIN)/mypy

check: lint types

format: install
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

wheels:
	rm -rf dist
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist . ./packages/renoise-mini

clean:
	rm -rf .venv dist build demo
