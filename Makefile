# Everything a newcomer needs: `make demo` to see it work, `make test` for the whole gate.

SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
INSTALLED := .venv/.installed
# a build of libllama that has not been made yet
ANOTHER := $(if $(CMAKE_ARGS),$(if $(filter-out $(shell cat .venv/.cmake-args 2>/dev/null),$(CMAKE_ARGS)),another))

.PHONY: another help install demo test fuzz bench bench-sim format lint types unit lock clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(INSTALLED) ## install everything into .venv (for a GPU, with CMAKE_ARGS as llama-cpp-python says)

demo: $(INSTALLED) ## serve two models where only one fits, and show what happens (ARGS=--once: then exit)
	@$(BIN)/hotbunk demo $(ARGS)

test: lint types unit ## the whole gate: format, lint, types, tests

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy

unit: $(INSTALLED)
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

fuzz: $(INSTALLED) ## the property tests of the scheduler with fresh random examples (ROUNDS=20)
	for round in $$(seq $(or $(ROUNDS),20)); do $(BIN)/pytest -q tests/scheduler --hypothesis-profile=fuzz $(ARGS) || exit; done

bench: $(INSTALLED) ## what hotbunk costs: speed against bare libllama, both measured in one run; time added to the first token
	@$(BIN)/hotbunk bench decode $(ARGS)
	@$(BIN)/hotbunk bench ttft $(ARGS)

bench-sim: $(INSTALLED) ## how fast the simulator and the decisions are, from 10,000 requests to a million (ARGS=--requests 10000)
	@$(BIN)/python benchmarks/simulate.py $(ARGS)

format: $(INSTALLED) ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(INSTALLED) ## take the newest dependencies and write their versions to requirements-dev.lock
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager -e '.[dev,demo]'
	{ echo '# The versions that the tests run with; `make lock` writes this.'; \
	  $(BIN)/python -m pip freeze --exclude-editable; } > requirements-dev.lock
	touch $(INSTALLED)

clean: ## remove the virtual environment and everything else that was made
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml requirements-dev.lock scripts/install $(ANOTHER)
	@scripts/install
	@touch $@
