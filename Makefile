# Thin: every line calls a tool. `make book` is all that a new user needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup book report publish pdf screenshot links test slow check fuzz mutants coverage lock sync bench clean

setup: .venv/.done

.venv/.done: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --progress-bar off -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

book: setup  ## every story at the quick parameters, and the book
	$(BIN)/python tools/run.py quick

report: setup  ## the same at the published size
	$(BIN)/python tools/run.py report

publish: setup  ## pages and numbers of a complete report run -> book/
	$(BIN)/python tools/publish.py

pdf: setup  ## the published book as one file: book/_build/book.pdf
	$(BIN)/jupyter-book build --all book
	$(BIN)/python tools/pdf.py

screenshot: setup  ## the picture of README.md, from the published book
	$(BIN)/jupyter-book build book
	$(BIN)/python tools/screenshot.py

links: setup  ## every address outside of the book, which needs a network; a test checks those inside
	$(BIN)/jupyter-book build book --builder linkcheck

test: book  ## unit, drift, commands, some pages in a browser; beside it, every cell of every story against its output
	OMP_NUM_THREADS=1 $(BIN)/pytest --nbval -q notebooks > artifacts/cells.log 2>&1 & cells=$$!; trap 'kill $$cells' INT TERM; \
	$(BIN)/pytest -m "not slow" tests; tests=$$?; wait $$cells; cells=$$?; cat artifacts/cells.log; \
	exit $$((tests | cells))

slow: setup artifacts/peers/.done  ## the rest, half an hour and more: faults, twenty seeds, a cluster, several processes, the benchmark small
	$(BIN)/pytest -m slow tests

check: setup  ## the fast part: style, layout, drift
	$(BIN)/ruff check .
	$(BIN)/pytest -q tests/test_layout.py tests/test_drift.py

lock:  ## the newest versions that pyproject.toml allows, tried in artifacts/lock -> requirements.txt, book/licences.md
	$(PYTHON) -m venv --clear artifacts/lock
	artifacts/lock/bin/python -m pip install --quiet --progress-bar off --upgrade setuptools -e '.[test]'
	artifacts/lock/bin/python tools/lock.py
	artifacts/lock/bin/python tools/licences.py

fuzz: setup  ## made-up input for our parsers and damaged sound for the decoders: FUZZ_SECONDS=300 make fuzz
	PYTHONPATH=tests $(BIN)/python tests/fuzz.py

mutants: setup artifacts/mutmut/.done  ## changes of theory, objective, effects and splits that no test sees, by mutmut: at most 15 %
	export OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/artifacts/mutmut; for part in "-m mutmut run --max-children 2" \
	"-m mutmut results" tools/mutants.py; do $(BIN)/python $$part || exit; done

artifacts/mutmut/.done: requirements-mutants.txt | setup
	$(BIN)/python -m pip install --quiet --progress-bar off --no-deps --upgrade --target artifacts/mutmut -r $<
	touch $@

coverage: setup artifacts/peers/.done  ## lines and branches of lib that no test in tests/ runs, in whatever process
	rm -rf artifacts/coverage
	$(BIN)/coverage run -m pytest -q tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --show-missing
	$(BIN)/coverage json --quiet -o artifacts/coverage/report.json
	$(BIN)/python -c 'import json, sys; found = json.load(open(sys.argv[1]))["totals"]; \
	share = 100 * found["covered_branches"] / found["num_branches"]; print(f"{share:.1f} % of the branches"); \
	sys.exit(share < 95 and "fewer than 95 %")' artifacts/coverage/report.json

sync: setup  ## after an edit of notebooks/*.py: cells and outputs of the .ipynb
	$(BIN)/python tools/sync.py pairs
	$(BIN)/python tools/run.py quick results
	$(BIN)/python tools/sync.py outputs

bench: setup artifacts/peers/.done  ## the book against what else one would use: book/speed.md and cost.md
	$(BIN)/python tools/bench.py

artifacts/peers/.done: requirements-bench.txt | setup
	$(BIN)/python -m pip install --quiet --progress-bar off --no-deps --upgrade --target artifacts/peers -r $<
	touch $@

clean:  ## everything computed; .venv stays
	rm -rf artifacts book/_build .snakemake mutants
