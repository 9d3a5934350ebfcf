# Everything here works on a machine with python3 (3.11 or newer) and make; the rest is installed into
# .venv and .venv-sdk, beside this file. Another Python: make PYTHON=python3.13 …

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
COMPILED = .compiled
PYTEST = $(BIN)/python -m pytest
# Whole files of tests at a time: what a file's tests share is made once, and one file has port 8883.
SIDE_BY_SIDE = --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: help audit faults interop test-load test-console screenshots compiled test-compiled bench-compiled setup setup-demo setup-sdk demo test lint format types unit integration e2e fuzz slow bench storm bench-smoke clean

help: ## Show this
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1 \2/p' $(MAKEFILE_LIST) | while read -r name text; do \
		printf '  %-12s %s\n' "$$name" "$$text"; done

setup: ## Make .venv with the gateway and the tools of its developers
	@$(PYTHON) .ci/bootstrap.py $(VENV) --editable '.[dev]' --depends-on pyproject.toml

# The gateway alone: somebody who wants to see it need not wait for the developers' tools.
setup-demo:
	@$(PYTHON) .ci/bootstrap.py $(VENV) --editable . --depends-on pyproject.toml

setup-sdk: ## Make .venv-sdk with Microsoft's device SDKs, for the end-to-end tests
	@$(PYTHON) .ci/bootstrap.py .venv-sdk --requirement tests/e2e/requirements-sdk.txt --depends-on tests/e2e/requirements-sdk.txt

demo: setup-demo ## Run a gateway and a few simulated devices, and show what happens (Ctrl-C ends it)
	@$(BIN)/gateway demo

test: lint types setup-sdk ## Everything that has to pass, but for what has a target of its own: lint, types, tests
	$(PYTEST) $(SIDE_BY_SIDE) --ignore=tests/console -m 'not load and not faults'

test-load: setup ## The bench and the storm in small, and an import of 100,000 devices: does every scenario work?
	$(PYTEST) -m load tests

faults: setup ## A storm while the gateway is killed, the disk full, the store locked, the network bad; every message accounted for
	$(PYTEST) -m faults -s tests/faults

test-console: setup setup-sdk ## The web console in a real browser (Debian's chromium)
	$(PYTEST) tests/console

screenshots: setup ## Pictures of the console for the documentation
	$(BIN)/python -m tests.console.screenshots docs/images

lint: setup ## Check style (ruff) and the Dockerfile (hadolint)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if [ -x $(BIN)/hadolint ]; then echo "$(BIN)/hadolint Dockerfile"; $(BIN)/hadolint Dockerfile; \
	else echo "hadolint has no release for this kind of machine: the Dockerfile is not linted here"; fi

audit: setup ## Known vulnerabilities in the dependencies (pip-audit; needs PyPI's own service)
	@$(BIN)/python .ci/audit.py

format: setup ## Bring the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: setup ## Check types (mypy, strict)
	$(BIN)/mypy

unit: setup ## The tests without a network or a process, in seconds
	$(PYTEST) tests/unit

integration: setup ## The tests with sockets, a broker and processes, without Microsoft's SDKs
	$(PYTEST) -m 'not sdk' tests

e2e: setup setup-sdk ## The tests with Microsoft's SDKs (port 8883 must be free)
	$(PYTEST) -m sdk tests

# SECONDS=3600 is how long each parser is fuzzed by coverage.
SECONDS ?= 300
fuzz: setup ## Property tests and the models of who may be in with many more examples, then every parser by coverage
	$(PYTEST) --hypothesis-profile=fuzz tests/unit tests/fuzz
	for target in $$($(BIN)/python -m tests.fuzz.run --list); do \
		$(BIN)/python -m tests.fuzz.run $$target --seconds $(SECONDS) || exit 1; done

# PAHO_TESTING=DIR is a checkout of github.com/eclipse/paho.mqtt.testing (docs/conformance.md).
interop: setup ## Eclipse Paho's own interoperability suite: PAHO_TESTING=DIR make interop (four minutes, port 1883)
	@test -n "$(PAHO_TESTING)" || { echo "set PAHO_TESTING to a checkout of github.com/eclipse/paho.mqtt.testing"; exit 2; }
	$(BIN)/python -m tests.conformance.interop.run_paho "$(PAHO_TESTING)"

# GATEWAY_MODEL_REPOSITORY=DIR adds every model of a checkout of a model repository.
slow: setup ## Every model of a model repository: GATEWAY_MODEL_REPOSITORY=DIR make slow
	@test -n "$(GATEWAY_MODEL_REPOSITORY)" || { echo "set GATEWAY_MODEL_REPOSITORY to a checkout of a model repository"; exit 2; }
	$(PYTEST) -m slow tests

# ARGUMENTS='--only 1,2 --rounds 3' measures some rows; --update docs/performance.md writes them down.
bench: setup ## Server CPU time of a connect, beside Mosquitto's and amqtt's (docs/performance.md)
	$(BIN)/python -m loadtest.bench $(ARGUMENTS)

storm: setup ## Twice what the gateway can carry, for a minute: does storm control hold? (docs/storms.md; four minutes)
	$(BIN)/python -m loadtest.overload $(ARGUMENTS)

bench-smoke: setup ## Every scenario of the bench with a few devices: does it work? Measures nothing
	$(BIN)/python -m loadtest.bench --smoke $(ARGUMENTS)

# A copy of this tree, in which the rooms on the way of a CONNECT are compiled from the same sources (setup.py).
compiled: setup ## Make .compiled, with the compiled build (needs a C compiler and Python's headers; a minute)
	@rm -rf $(COMPILED) && mkdir $(COMPILED)
	@cp -r .ci broker_config docs gateway loadtest tests *.md *.toml Dockerfile LICENSE Makefile setup.py $(COMPILED)
	@echo "- compiling with mypyc (a minute)"
	@cd $(COMPILED) && GATEWAY_COMPILE=1 $(abspath $(BIN))/python setup.py --quiet build_ext --inplace

test-compiled: compiled ## The tests of devices' connections, on the compiled build
	cd $(COMPILED) && GATEWAY_COMPILED=1 $(abspath $(BIN))/python -m pytest -p no:cacheprovider tests/compiled \
		tests/conformance tests/integration/test_sessions.py tests/integration/test_protocol.py tests/integration/test_telemetry.py \
		tests/integration/test_association.py tests/integration/test_storms.py tests/integration/test_registrar_kill9.py \
		tests/integration/test_provisioning_https.py tests/integration/test_trace.py

bench-compiled: compiled ## The bench, with the compiled build
	cd $(COMPILED) && $(abspath $(BIN))/python -m loadtest.bench --directory $(CURDIR) $(ARGUMENTS)

clean: ## Remove what the other targets made
	rm -rf $(VENV) .venv-sdk $(COMPILED) .fuzz .demo .bench-* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
