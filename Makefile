# One command for each thing one does here; `make help` lists them.
# Everything is relative, so that a path with spaces works. Nothing outside this folder is touched.

PYTHON ?=
CONFIG ?=
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPILE := $(BIN)/uv pip compile pyproject.toml --extra workflow --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

# Compiled modules make every step start faster, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help report test lint format lock sync-config clean clean-env

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo "  make report CONFIG=mine.yaml     reports for the analyses in your own configuration, and only those"
	@echo "  make report ARGS=\"--dry-run\"     anything after ARGS goes to snakemake"

report: .venv/.hierreport ## build the environment once, run the workflow, say where the reports are
	@$(BIN)/python -m hierreport run $(if $(CONFIG),--config '$(CONFIG)') $(ARGS)

test: .venv/.hierreport-test ## run all tests (pytest; choose with ARGS="-k formula")
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

lint: .venv/.hierreport-test ## ruff, snakefmt, mypy and snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/snakemake --lint

format: .venv/.hierreport-test ## mend what ruff and snakefmt can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

sync-config: .venv/.hierreport ## write schema, default config and its README again from hierreport/config.py
	$(BIN)/python -m hierreport config --write

lock: .venv/.hierreport-test ## resolve the requirements again (needs a network); UPGRADE=1 takes newer versions
	$(PIP) install uv
	$(COMPILE) $(if $(UPGRADE),--upgrade) -o requirements.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra test -c requirements.lock -o requirements-test.lock

clean: ## remove results (not your data, not the environment)
	rm -rf results .snakemake

clean-env: ## remove the environment
	rm -rf .venv

# The environment: a plain venv, every download checked against its hash, this checkout on top of it.
.venv/.hierreport: requirements.lock pyproject.toml
	@PYTHON='$(PYTHON)' sh tools/make-venv.sh requirements.lock
	@touch $@

.venv/.hierreport-test: requirements-test.lock .venv/.hierreport
	@PYTHON='$(PYTHON)' sh tools/make-venv.sh requirements-test.lock
	@touch $@
