# Every target sets up what it needs: a virtual environment in .venv with the locked dependencies.

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/ready

.PHONY: help setup demo test check lint types package lock clean

help:
	@echo "make demo     train on a bundled sample, evaluate, export, verify, predict (a few minutes)"
	@echo "make test     run the tests"
	@echo "make check    formatter, linter, types, package, tests"
	@echo "make lock     resolve requirements.lock anew from setup.cfg"

setup: $(READY)

$(READY): requirements.lock setup.cfg pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY)
	rm -rf demo
	$(BIN)/textrnn train classification sample:reviews --run demo/run
	$(BIN)/textrnn evaluate demo/run
	$(BIN)/textrnn export demo/run --output demo/export
	$(BIN)/textrnn verify demo/export
	printf '%s\n' \
	  "The soup is dull, but the bread is very charming." \
	  "The soup is charming, but the bread is very dull." \
	  "The battery isn't convincing, it is lousy." \
	  > demo/reviews.txt
	$(BIN)/textrnn predict demo/export/1 demo/reviews.txt

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

package: $(READY)
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	$(BIN)/python tests/check_wheel.py dist/*.whl

check: lint types package test

lock:
	uv pip compile setup.cfg --extra serve --extra dev --python-version 3.11 --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  --output-file requirements.lock

clean:
	rm -rf .venv build dist demo *.egg-info .mypy_cache .pytest_cache .ruff_cache
