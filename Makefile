# Each target makes what it needs: `make demo` and `make test` run on a machine with git, make and Python 3.11 (venv).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# A newer interpreter, where one is present, runs the tests as well.
NEWER  ?= $(shell for v in 14 13 12; do p=$$(command -v python3.$$v) && $$p -c 'import sys, venv, ensurepip' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LOCK   := requirements/dev.txt
PIP_FLAGS := --quiet --disable-pip-version-check --no-input

.PHONY: demo test test-newer fuzz lint format bench wheel-check soak lock clean

$(STAMP): $(LOCK) pyproject.toml
	@echo "Installing pinned dependencies into $(VENV) (first run only) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes --only-binary :all: -r $(LOCK)
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	@$(BIN)/audit-proxy demo

test: $(STAMP)
	@$(BIN)/python -m pytest --cov=audit_proxy/core --cov-branch --cov-report=term --cov-fail-under=95
	@if [ -n "$(NEWER)" ]; then $(MAKE) --no-print-directory test-newer; else echo "No newer Python found: tests ran on $$($(BIN)/python -V) only."; fi

test-newer:
	@$(MAKE) --no-print-directory VENV=.venv-newer PYTHON=$(NEWER) .venv-newer/.installed
	@.venv-newer/bin/python -m pytest -q -p no:cacheprovider

# Each target for FUZZ_SECONDS; ends with the first that finds something, whose input then stands in build/fuzz.
# FUZZ_SEED=0 tries something new each time; any other number can be repeated, so that CI fails for a change and not by luck.
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 0
FUZZ_JOBS ?= 2
fuzz: $(VENV)/.fuzz-installed
	@names=$$($(BIN)/python -m tests.fuzz.run 2>/dev/null) && echo $$names | tr ' ' '\n' | xargs -P $(FUZZ_JOBS) -I TARGET sh -c ' \
		PYTHONHASHSEED=1 $(BIN)/python -m tests.fuzz.run TARGET $(FUZZ_SECONDS) $(FUZZ_SEED) >build/fuzz-TARGET.txt 2>&1 \
			|| { cat build/fuzz-TARGET.txt; exit 255; }; \
		echo "TARGET: $(FUZZ_SECONDS) s, $$(grep -h number_of_executed_units build/fuzz-TARGET.txt)"'

$(VENV)/.fuzz-installed: requirements/fuzz.txt $(STAMP)
	@mkdir -p build
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes --only-binary :all: -r requirements/fuzz.txt
	@touch $@

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

# The long forms of tests: a gigabyte each way, and what else is marked slow.
soak: $(STAMP)
	@$(BIN)/python -m pytest -m slow

bench: $(STAMP)
	@$(BIN)/python -m benchmarks.proxy

wheel-check: $(STAMP)
	@rm -rf build/wheel && mkdir -p build/wheel
	@$(BIN)/python -m build --no-isolation --wheel --outdir build/wheel . >build/wheel/log.txt || (cat build/wheel/log.txt; exit 1)
	@$(PYTHON) -m venv build/wheel/venv
	@build/wheel/venv/bin/python -m pip install $(PIP_FLAGS) build/wheel/*.whl
	@build/wheel/venv/bin/audit-proxy --version

lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-annotate -q -o requirements/runtime.txt
	uv pip compile pyproject.toml --group dev -c requirements/runtime.txt --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-annotate -q -o requirements/dev.txt
	uv pip compile --group fuzz --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-annotate -q -o requirements/fuzz.txt

clean:
	rm -rf $(VENV) .venv-newer build dist
