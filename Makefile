# `make help` lists the targets. Everything lives in .venv; nothing needs root.

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench simulate lint docs lock clean check-tools
.DELETE_ON_ERROR:

BIN := .venv/bin
# Written last: a setup that was interrupted is done again, from nothing.
STAMP := .venv/.setup-done
# checkov brings 190 MB of packages, which only the tests need.
CHECKOV := .venv/checkov/.setup-done
# Tests at once. Most of them wait for processes of theirs: two for each core, and 16 are enough.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n > 8 ? 16 : 2 * n)))
BUILD := --require-build-hashes --build-constraints requirements/build.txt

# Only the tests call git and OpenSSH's programs, only they and lint call terraform.
TOOLS := python $(if $(filter test,$(MAKECMDGOALS)),git ssh scp sftp ssh-keygen) \
	$(if $(filter test lint,$(MAKECMDGOALS)),terraform)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## install the pinned development set into .venv (nothing to do: nothing done)

demo: $(STAMP) ## start a simulator, fine-tune a small Gemma 3 on it, show the result
	@$(BIN)/python examples/demo.py

test: lint $(CHECKOV) ## lint, types and all tests
	$(BIN)/pytest -q -n $(JOBS) --dist loadscope --no-loadscope-reorder

lint: $(STAMP) ## ruff, mypy and terraform fmt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict launcher
	$(BIN)/mypy --strict --python-version 3.10 launcher/agent launcher/records
	terraform fmt -check -recursive terraform

docs: $(STAMP) ## write the tables in terraform/**/README.md anew
	@$(BIN)/python -m tests.terraform.tables --write

bench: $(STAMP) ## measure, and print each figure beside its goal
	@$(BIN)/python -m tests.benchmarks

simulate: $(STAMP) ## play a year of a team's work, say what was used, idle, leaked and paid
	@$(BIN)/python -m tests.simulation

clean: ## remove .venv and every cache
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-tools:
	@.ci/check-tools $(TOOLS) >/dev/null

# uv brings its own certificate roots; the system's also hold those of a company's proxy.
$(STAMP) $(CHECKOV) lock: export UV_SYSTEM_CERTS ?= 1

$(STAMP): pyproject.toml $(filter-out %/checkov.txt,$(wildcard requirements/*.txt)) | check-tools
	@test -e $@ || rm -rf .venv
	@rm -f $@
	@echo "Setting up .venv"
	@$$(.ci/check-tools python) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/bootstrap.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes $(BUILD) requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps $(BUILD) --editable .
	@touch $@
	@echo "Ready. To use it in this shell: . .venv/bin/activate"

$(CHECKOV): requirements/checkov.txt | $(STAMP)
	@rm -f $@
	@echo "Setting up .venv/checkov"
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv/checkov
	@$(BIN)/uv pip sync --quiet --python .venv/checkov/bin/python --require-hashes $(BUILD) requirements/checkov.txt
	@touch $@

# A folder of wheels that one machine happens to know must not end up in files that all use.
COMPILE := env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade \
	--generate-hashes --no-header --no-emit-index-url --annotation-style line

lock: $(STAMP) ## move the pinned versions in requirements/ to the newest that fit
	$(COMPILE) --extra dev --output-file requirements/dev.txt pyproject.toml
	grep -o '^uv==[^ ]*' requirements/dev.txt | $(COMPILE) --output-file requirements/bootstrap.txt -
	printf '%s\n' editables hatchling setuptools | $(COMPILE) --output-file requirements/build.txt -
	echo checkov | $(COMPILE) --output-file requirements/checkov.txt -
	printf '%s\n' functions-framework google-cloud-storage google-cloud-tpu | \
		$(COMPILE) --constraint requirements/dev.txt --output-file launcher/functions/requirements.txt -
