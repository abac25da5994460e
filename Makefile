# Needs Python 3.11+ and a network; sets up everything else inside .venv.
PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
TEST_WORKERS ?= 2
BIN := $(VENV)/bin
export UV_LINK_MODE ?= copy
unexport PYTHONDONTWRITEBYTECODE  # everything here starts many processes: compiled once, they start three times as fast

.DEFAULT_GOAL := help
.PHONY: help install install-dev browser tls-server java demo up test test-faults soak lint types unit bench bench-quick bench-speed bench-batch bench-serving bench-archive bench-engines bench-compare bench-start audit docs clean lock

help:  ## Show these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## Install what running needs into .venv

install-dev: $(VENV)/.installed-dev  ## Install also what developing and testing need

demo: install  ## Run the whole platform on a simulated city; no keys needed
	@$(BIN)/lambda-pipeline demo

up: install  ## Run the whole platform on the live APIs, with keys from .env
	@$(BIN)/lambda-pipeline up

test: install-dev browser tls-server java lint types  ## Lint, types, and all tests (TEST_WORKERS=2 at a time)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadscope --no-loadscope-reorder

test-faults: install-dev  ## Kill, freeze and restart everything under load, many times (LAMBDA_FAULTS_SEED, LAMBDA_UNION_EXAMPLES)
	LAMBDA_FAULTS=full $(BIN)/python -m pytest lambda_pipeline_tests/faults -m faults
	LAMBDA_UNION_EXAMPLES=$${LAMBDA_UNION_EXAMPLES:-1000} $(BIN)/python -m pytest lambda_pipeline_tests/integration/union

soak: install-dev  ## Everything runs for ten minutes while everything fails at random (SOAK_MINUTES, SOAK_SEED)
	@$(BIN)/python -m lambda_pipeline_tests.soak

unit: install-dev  ## Only the tests that need no server and no browser
	$(BIN)/python -m pytest -m "not integration and not browser and not faults"

lint: install-dev  ## Check style, formatting and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: install-dev  ## Check types
	$(BIN)/mypy

bench: bench-quick bench-speed bench-batch bench-serving bench-archive bench-engines bench-start  ## Measure everything: some hours; rewrites docs/benchmarks.md

bench-quick: install-dev  ## A short look at each layer and at the poller: minutes; writes nothing
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.polling

bench-speed: install-dev $(BENCH_VENV)/.installed  ## Measure the speed daemon beside its peers; rewrites docs/benchmarks.md
	$(BIN)/python -m benchmarks.speed

bench-batch: install-dev  ## Measure the batch layer beside bare SQL; rewrites docs/benchmarks.md
	$(BIN)/python -m benchmarks.batch

bench-serving: install-dev  ## Measure every serving query and the page at 10,000 locations; rewrites docs/benchmarks.md
	$(BIN)/python -m benchmarks.serving

bench-archive: install-dev  ## Measure the archive beside PostgreSQL; rewrites docs/benchmarks.md
	$(BIN)/python -m benchmarks.archive

bench-engines: install-dev  ## Measure archived days to published hours, engine by engine; rewrites docs/benchmarks.md
	$(BIN)/python -m benchmarks.engines

docs: install-dev  ## Make docs/cli.md and docs/data-dictionary.md anew
	$(BIN)/python -m lambda_pipeline_tests.documents

browser: install-dev  ## Install Chromium for the browser tests (on Debian, as root), or say what is missing
	@$(BIN)/python -m lambda_pipeline_tests.browser.chromium

tls-server: install-dev  ## Install a PostgreSQL with TLS for the tests of it (on Debian, as root), or say what is missing
	@$(BIN)/python -m lambda_pipeline_tests.security.debian_postgres

java: install-dev  ## Install the Java that Spark's tests run on (on Debian, as root), or say what is missing
	@$(BIN)/python -m lambda_pipeline_tests.java

bench-start: install-dev browser  ## Measure how long the demo takes to data on the dashboard; rewrites docs/benchmarks.md
	$(BIN)/python -m benchmarks.cold_start

bench-compare: install-dev  ## Measure this state of the code beside the last commit; fails where it is slower
	$(BIN)/python -m benchmarks.compare

audit: install-dev  ## Look up the locked dependencies among the known vulnerabilities (needs a network; says so without)
	@$(BIN)/python -m lambda_pipeline_tests.security.audit

clean:  ## Remove the data folder (.lambda), the virtual environments and caches
	rm -rf .lambda $(VENV) $(BENCH_VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

lock: $(VENV)/bin/uv  ## Resolve the dependencies anew: requirements/, and Kafka's jars
	for name in build base local spark dev bench; do \
	  case $$name in \
	    build) what="--group build" ;; \
	    base) what="pyproject.toml" ;; \
	    local) what="pyproject.toml --extra local" ;; \
	    spark) what="pyproject.toml --extra spark" ;; \
	    dev) what="pyproject.toml --extra local --group dev" ;; \
	    bench) what="--group bench" ;; \
	  esac; \
	  $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --upgrade \
	    --custom-compile-command "make lock" $$what --output-file requirements/$$name.txt || exit 1; \
	done
	$(MAKE) install
	$(BIN)/python -m lambda_pipeline.local.jars

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.installed: requirements/local.txt pyproject.toml | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/local.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/build.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements/dev.txt $(VENV)/.installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

$(BENCH_VENV)/.installed: requirements/bench.txt | $(VENV)/bin/uv
	$(BIN)/python -m venv --clear $(BENCH_VENV)
	$(BIN)/uv pip install --quiet --python $(BENCH_VENV)/bin/python --require-hashes -r requirements/bench.txt
	@touch $@
