# make demo: invert, reconstruct and edit a real image with the bundled model.   make test: run the tests.
# Four parts of the tests stand alone: make test-slow (tests that take seconds, and the longer tables of cases),
# make test-hostile (thousands of damaged files), make test-web (the page, in a real browser) and make test-jobs (data sets
# through Ray).
# make evaluate: measure what each part of the method adds, on a few images.
# Each sets up .venv first, which takes some minutes the first time and nothing after that.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# "source" installs this checkout in place; "wheels" installs what `make wheels` built, as CI does.
FROM ?= source
comma := ,
PACKAGES_source := -e .[evaluation,jobs,web] -e packages/renoise-mini
PACKAGES_wheels := $(addsuffix [evaluation$(comma)jobs$(comma)web],$(wildcard dist/renoise-[0-9]*.whl)) $(wildcard dist/renoise_mini-*.whl)
SOURCES := src tests packages training benchmarks examples

.PHONY: help install demo test test-slow test-hostile test-web test-jobs chromium evaluate lint types check format wheels clean

help:
	@echo "make demo      edit a real image with the bundled model"
	@echo "make test      run the tests, but for four parts that stand alone:"
	@echo "make test-slow     tests that take seconds, and the longer tables of cases"
	@echo "make test-hostile  thousands of damaged files"
	@echo "make test-web      the page of renoise web in a real browser (Debian's chromium)"
	@echo "make test-jobs     data sets through Ray"
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
	$(BIN)/pytest -n auto --dist worksteal -m "not (slow or hostile or web or jobs)"

test-slow: install
	$(BIN)/pytest -n auto --dist worksteal -m "slow and not (hostile or web or jobs)"

test-hostile: install
	$(BIN)/pytest -n auto --dist worksteal -m hostile

# One process: the tests share one page, and a browser has processes of its own.
test-web: install chromium
	$(BIN)/pytest -m web

chromium:
	@command -v chromium > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; } || \
		{ echo "make test-web needs chromium: install it with your system's package manager (Debian: apt-get install chromium)" >&2; exit 1; }
	@command -v chromium > /dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium; }

# One process: Ray has processes of its own.
test-jobs: install
	$(BIN)/pytest -p no:xdist -m jobs tests/jobs

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
