# `make` lists the targets. Everything is installed into .venv/ in this checkout, from requirements.lock.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NATIVE := build/.native
UV_VERSION := 0.13.9
PYTEST_ARGS ?=
SERVING_ARGS ?=
BENCH_ARGS ?=
PEERS_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv native demo test torture proof-change bench bench-serving bench-peers lint lock docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22
	@echo '  PYTHON=python3.12 make ... uses another interpreter (3.11 or 3.12)'

# No resolving here: the lock is complete, and pip checks every file's hash.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { \
	  echo "Tidegate needs Python 3.11 or 3.12; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)." >&2; \
	  echo "Name another one: PYTHON=python3.12 make ..." >&2; exit 1; }
	@echo "Setting up $(VENV) from requirements.lock ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . \
	  --editable clients/python
	@touch $@

# The C part is built where it stands, again when a source of it has changed.
$(NATIVE): $(STAMP) setup.py $(wildcard segmentation/native/*.[ch])
	@$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

native: $(NATIVE) ## build the C part of segmentation/ (done by the other targets when it has changed)

venv: $(NATIVE) ## set up .venv/ (done by the other targets when the lock file has changed)

demo: $(NATIVE) ## everything on this machine with live traffic; DEMO_SECONDS=30 ends it by itself
	@$(BIN)/tidegate demo

test: $(NATIVE) ## the whole suite, linters included; PYTEST_ARGS='-k word' for a part
	$(BIN)/python -m pytest $(PYTEST_ARGS)

torture: $(NATIVE) ## the fault suite on Apache Kafka and PostgreSQL, some 15 minutes; TORTURE_SEED=1 for a certain one
	$(BIN)/python -m tests.torture

proof-change: $(NATIVE) ## definitions change under a live stream and kills, on Apache Kafka, some 10 minutes; CHANGE_EDITS=6 for fewer
	$(BIN)/python -m tests.change

bench: $(NATIVE) ## speed, latency and memory, some 15 minutes, to loadtest/out/bench.json; BENCH_ARGS='--quick'
	$(BIN)/python -m loadtest.bench $(BENCH_ARGS)

bench-serving: $(NATIVE) ## checks over gRPC while transitions go in, and a soak; SERVING_ARGS='--users 20000 --soak 30'
	$(BIN)/python -m loadtest.serving $(SERVING_ARGS)

bench-peers: $(NATIVE) ## Tidegate against Flink SQL, some 20 minutes, fetches Flink; PEERS_ARGS='--rounds 1 --events 300000'
	$(BIN)/python -m loadtest.peers $(PEERS_ARGS)

lint: $(NATIVE) ## ruff, mypy --strict and the import rules
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(NATIVE) ## write again what is generated into docs/
	$(BIN)/python -m tests.docs.generate

# One lock for all supported platforms and both Python versions; the image's is the part of it that runs.
lock: ## resolve the newest allowed versions into requirements.lock and deploy/requirements.lock
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(VENV)/lock/bin/uv pip compile pyproject.toml --extra dev $(LOCK_FLAGS) --output-file requirements.lock
	$(VENV)/lock/bin/uv pip compile pyproject.toml --extra build $(LOCK_FLAGS) --constraint requirements.lock \
	  --output-file deploy/requirements.lock
	rm -rf $(VENV)/lock

LOCK_FLAGS := --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-annotate --custom-compile-command 'make lock'

clean: ## remove .venv/ and what the tools cache
	rm -rf $(VENV) segmentation/native/*.so .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
