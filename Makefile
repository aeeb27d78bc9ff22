# Thin: every line calls a tool. `make book` is all that a new user needs.
PYTHON ?= python3
BIN := .venv/bin
MUTMUT := PYTHONPATH=$(CURDIR)/artifacts/mutmut $(BIN)/python -m mutmut

.PHONY: setup book report publish pdf links test slow check fuzz mutants coverage lock sync bench clean

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

pdf: setup  ## the published book as one file, book/_build/book.pdf, printed by chromium
	$(BIN)/jupyter-book build book --builder custom --custom-builder singlehtml
	chromium --headless --no-sandbox --disable-gpu --no-pdf-header-footer --virtual-time-budget=60000 \
	--print-to-pdf=book/_build/book.pdf file://$(CURDIR)/book/_build/singlehtml/intro.html

links: setup  ## every address outside of the book, which needs a network; a test checks those inside
	$(BIN)/jupyter-book build book --builder linkcheck

test: book  ## unit, drift, commands, some pages in a browser; beside it, nbval compares every cell with its output
	mkdir -p artifacts  # the stages may be elsewhere, in ARTIFACTS_DIR
	OMP_NUM_THREADS=1 $(BIN)/pytest --nbval -q notebooks > artifacts/cells.log 2>&1 & cells=$$!; trap 'kill $$cells' INT TERM; \
	$(BIN)/pytest -m "not slow" tests; tests=$$?; wait $$cells; cells=$$?; cat artifacts/cells.log; \
	exit $$((tests | cells))

slow: setup  ## the rest: kills, full disks, a cluster, every page in a browser
	$(BIN)/pytest -m slow tests

check: setup  ## seconds: style, imports one way, sizes, drift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_layout.py tests/test_drift.py

lock: setup  ## pyproject.toml -> requirements.txt and book/licences.md; `make lock UPGRADE=--upgrade` takes newer versions
	$(BIN)/uv pip compile $(UPGRADE) --quiet --universal --python-version 3.11 --fork-strategy fewest --extra test \
	--no-annotate --custom-compile-command "make lock" --output-file requirements.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --progress-bar off -r requirements.txt
	$(BIN)/python tools/licences.py

fuzz: setup  ## generated input for our parsers and damaged sound for the decoders: FUZZ_SECONDS=300 make fuzz
	PYTHONPATH=tests $(BIN)/python tests/fuzz.py

mutants: setup artifacts/mutmut/.done  ## which changes of theory, losses, effects and clips no test notices
	OMP_NUM_THREADS=1 $(MUTMUT) run --max-children 2
	$(MUTMUT) results

artifacts/mutmut/.done: requirements-mutants.txt | setup
	$(BIN)/python -m pip install --quiet --progress-bar off --no-deps --upgrade --target artifacts/mutmut -r $<
	touch $@

coverage: setup  ## lines and branches of lib that no test runs, in any process
	rm -rf artifacts/coverage
	$(BIN)/coverage run -m pytest -q tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --show-missing

sync: setup  ## after an edit of notebooks/*.py: cells and outputs of the .ipynb
	$(BIN)/jupytext --quiet --update --to notebook notebooks/*.py
	$(BIN)/python tools/run.py quick results
	$(BIN)/python tools/sync.py

bench: setup  ## the book against what else one would use: book/speed.md and cost.md
	$(BIN)/python tools/bench.py

clean:  ## everything computed; .venv stays
	rm -rf artifacts book/_build .snakemake mutants
