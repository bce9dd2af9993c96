# Every target first creates what it needs: the virtual environment .venv with the locked dependencies.

ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo "$$p" && break; done)
endif
# pyenv's python3.12 runs only where it was selected: look into its versions too.
INTERPRETER := $(shell for p in "$(PYTHON)" "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/*/bin/"$(PYTHON)"; do \
  "$$p" -c 'import sys; print(sys.executable) if sys.version_info >= (3, 11) else sys.exit(1)' 2> /dev/null && break; done)
VERSION := $(shell "$(INTERPRETER)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null)
BIN := .venv/bin
READY := .venv/ready-$(VERSION)

.PHONY: help setup demo test coverage bench check lint spelling types layers dependencies package sanitize hidden-compiler docs site lock clean

help:
	@echo "make demo      train on a generated sample, evaluate, export, verify, predict (a few minutes)"
	@echo "make test      run the tests"
	@echo "make coverage  run the tests and measure their coverage; fail below the minimum in setup.cfg"
	@echo "make bench     compare the speed with Keras, PyTorch and ONNX Runtime (20 minutes; OPTIONS=--quick: 4)"
	@echo "make check     formatter, linter, spelling, types, layers, dependencies, wheel, tests"
	@echo "make sanitize         run the kernels' own test program under the sanitizers of the compiler"
	@echo "make hidden-compiler  run the tests of the kernels and a small training without a compiler"
	@echo "make docs      write docs/commands.md and docs/configuration.md from the code"
	@echo "make site      build the documentation as a web site, in site/; a broken link is an error"
	@echo "make lock      resolve requirements.lock from setup.cfg (needs uv)"
	@echo "make clean     delete .venv and everything that was built"
	@echo "PYTHON=python3.12 (a name or a path) selects another Python, 3.11 or later; .venv is then created again"

setup: $(READY)

$(READY): requirements.lock setup.cfg pyproject.toml
	@test -n "$(VERSION)" || { echo "Python 3.11 or later is needed; give it as make PYTHON=PATH" >&2; exit 1; }
	$(BIN)/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' 2> /dev/null \
	  || { rm -rf .venv && "$(INTERPRETER)" -m venv .venv; }
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

coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered

# Each peer has an environment of its own. One that cannot be installed is left out.
PEERS := .bench/torch/ready .bench/onnx/ready

bench: $(READY) $(PEERS)
	$(BIN)/python benchmarks/bench.py $(OPTIONS)

.PHONY: $(PEERS)
$(PEERS): .bench/%/ready: benchmarks/peers/%.txt
	@cmp -s $< $@ || { rm -rf .bench/$* && "$(INTERPRETER)" -m venv .bench/$* \
	  && .bench/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $< && cp $< $@; } \
	  || echo "bench: $* cannot be installed and is left out" >&2

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

spelling: $(READY)
	git ls-files -z | xargs -0 $(BIN)/codespell

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

dependencies: $(READY)
	$(BIN)/python tests/check_dependencies.py

package: $(READY)
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	$(BIN)/python tests/check_wheel.py dist/*.whl

sanitize: $(READY)
	$(BIN)/python tests/models/kernels/sanitize.py

# As on a machine without a compiler, which CC=/bin/false is.
hidden-compiler: export CC = /bin/false
hidden-compiler: export CXX =
hidden-compiler: $(READY)
	$(BIN)/python -m pytest tests/models/kernels/test_native_*.py tests/app/training/test_training_kernels.py tests/app/test_info.py
	folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT \
	  && $(BIN)/textrnn train classification sample:reviews --run "$$folder/run" --set data.directory="$$folder/data" \
	    --set training.epochs=1 --set model.units=8 2>&1 | tee "$$folder/said" \
	  && grep -q '^no native kernels: ' "$$folder/said" && grep -q '"kernels": "keras"' "$$folder/run/manifest.json"

check: lint spelling types layers dependencies package test

docs: $(READY)
	$(BIN)/python -m app.reference docs

site: $(READY)
	$(BIN)/mkdocs build --strict --quiet

lock:
	uv pip compile setup.cfg --extra serve --extra plots --extra parquet --extra tensorboard --extra tune --extra mlflow --extra beam --extra dev --python-version 3.11 --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  --output-file requirements.lock

clean:
	rm -rf .venv .bench build dist demo site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage .coverage.*
