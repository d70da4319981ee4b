PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
EXTRAS := notebooks,export,app,test

.DEFAULT_GOAL := help
.PHONY: help setup data lab test check lint notebooks films html bench trust oldest newest clean

help:  ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY)  ## create .venv and install mnistlab (once, and when its requirements change)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mnistlab needs Python 3.11 or newer. Name one you have: make PYTHON=python3.12 setup"; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing mnistlab and what it needs into .venv: about 5 GB, most of it PyTorch, and some minutes."
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

data: setup  ## fetch MNIST into data/ where it is missing
	@$(BIN)/python -m mnistlab data

lab: data  ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/01_dataset.ipynb \
		--LabApp.news_url=None $$([ "$$(id -u)" = 0 ] && echo --allow-root)

test: setup  ## run every test and every notebook
	$(BIN)/python -m pytest -n 2
	$(BIN)/python -m pytest -n 2 --nbmake notebooks/

check: lint  ## lint, and run the tests that are quick (two minutes)
	$(BIN)/python -m pytest -n 2 -m "not slow"

lint: setup  ## check the style of code and notebooks, and the types of the library
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: setup  ## execute all notebooks in place, with clean outputs, and refresh visualizations/
	$(BIN)/python -m tools.build_notebooks

films: setup  ## make the films in animations/ anew from the shipped network
	$(BIN)/python -m tools.build_films

html: setup  ## render the notebooks to site/, readable without a network
	$(BIN)/python -m tools.build_site

bench: setup  ## compare speed and accuracy with other programs (half an hour; leave the machine alone)
	$(BIN)/python -m benchmarks.bench

trust: setup  ## try what accidents and attacks do: corrupted files, killed processes (twenty minutes)
	$(BIN)/python -m tests.trust.suite

oldest: RESOLUTION := lowest-direct
oldest:  ## run every test on the lowest versions that pyproject.toml allows, in .venv-oldest
newest: RESOLUTION := highest
newest:  ## run every test on the newest versions there are, in .venv-newest

oldest newest:
	$(PYTHON) -m venv --clear .venv-$@
	.venv-$@/bin/python -m pip install --quiet uv
	.venv-$@/bin/python -m uv pip install --quiet --python .venv-$@ --resolution $(RESOLUTION) --editable '.[$(EXTRAS)]'
	.venv-$@/bin/python -m pytest -n 2
	.venv-$@/bin/python -m pytest -n 2 --nbmake notebooks/

clean:  ## remove what make made, except the data
	rm -rf .venv .venv-oldest .venv-newest site
