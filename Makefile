# Two commands: `make demo` shows what aoi-tl does, `make test` proves it.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Tests of one file stay together, so that what they share is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
ALL_CORES := --numprocesses logical --dist loadscope

.PHONY: demo test quick docs pictures lint clean

demo: $(INSTALLED)
	$(BIN)/aoi-tl demo

test: $(INSTALLED)
	$(PYTEST) $(ALL_CORES) -m "not alone"
	$(PYTEST) -m alone

quick: $(INSTALLED)
	$(PYTEST) $(ALL_CORES) -m "not slow and not alone"

# Warnings are errors; a link that leads nowhere inside the site or the repository is one.
docs: $(INSTALLED)
	$(BIN)/python -m sphinx -q -W --keep-going -n -b html docs build/docs
	@echo "open build/docs/index.html"

pictures: $(INSTALLED)
	$(BIN)/python docs/make_pictures.py runs

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, got " + sys.version.split()[0] + "; name one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
