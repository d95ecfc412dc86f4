# Everything makes its own environment in .venv; `make clean` removes it. `make run` installs only
# what pnag needs, so that a dependency missing from pyproject.toml shows; the other commands add
# all extras but `tensorrt`, which is large and needs a GPU (`docs` its own).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run install experiment test check docs bench clean

run: $(VENV)/.core
	$(BIN)/pnag run --out runs/this-machine

# All extras: runtimes, export formats, what the tests need.
install: $(VENV)/.installed

# The paper's tables and figures, from a run at the paper's resolution.
experiment: $(VENV)/.installed
	$(BIN)/pnag run --resolutions 224 --out runs/paper
	$(BIN)/pnag experiment cpu --run runs/paper

# Two workers of one thread each: most tests run `pnag` as a process of its own.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

check: $(VENV)/.installed
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/mypy

# The site, from the pages in docs/; a broken link is an error.
docs: $(VENV)/.installed
	$(INSTALL) -e ".[docs]"
	$(BIN)/sphinx-build --quiet --fail-on-warning -c docs . build/docs
	@echo build/docs/docs/README.html

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/ranking_loss.py

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed: $(VENV)/.core
	$(INSTALL) -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV)
