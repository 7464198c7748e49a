# Certdesk. `make` alone lists what there is; every target makes the .venv first if it needs one.
.DEFAULT_GOAL := help
.PHONY: help run demo openbao test check fix docs lock bench screenshots clean
SHELL := /bin/sh

export PORT ?= 8000
export DATA ?= ./var
READY := .venv/.certdesk-ready

help: ## List the targets
	@echo "Certdesk: a self-hosted certificate request service."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PORT=8000 and DATA=./var may be overridden: make run PORT=9000 DATA=/srv/try"

$(READY): uv.lock requirements.lock requirements-peers.lock pyproject.toml scripts/bootstrap
	@scripts/bootstrap

run: $(READY) ## Try it: a demo with its own CA at http://127.0.0.1:$PORT
	@.venv/bin/certdesk serve --demo

demo: $(READY) ## Watch the whole story play on the command line, in under a minute
	@PATH="$(CURDIR)/.venv/bin:$$PATH" scripts/demo

openbao: $(READY) ## Try it with a throw-away OpenBao as its first CA, at http://127.0.0.1:$PORT
	@scripts/demo-openbao

test: $(READY) ## Run the tests but for the slow ones, on SQLite and (where found) on PostgreSQL
	@scripts/test $(ARGS)

check: $(READY) ## Everything that CI checks: format, lint, types, imports, templates, docs, locks, tests
	@scripts/check $(ARGS)

fix: $(READY) ## Mend what the tools can mend: format, lint, templates, generated pages
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .
	@scripts/templates
	@.venv/bin/python scripts/states.py
	@.venv/bin/python scripts/checks.py

docs: $(READY) ## Write the generated pages (docs/states.md, docs/checks.md, docs/seed.md)
	@.venv/bin/python scripts/states.py
	@.venv/bin/python scripts/checks.py
	@.venv/bin/python scripts/seed.py

lock: ## Write uv.lock and requirements.lock from pyproject.toml (needs uv)
	@scripts/lock

bench: $(READY) ## Measure: previews, issuing, lists at a million rows (SQLite and PostgreSQL)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" scripts/bench $(ARGS)

screenshots: $(READY) ## Take pictures of every page at two widths, light and dark, into var/screenshots
	@CERTDESK_TEST_SCREENSHOTS="$(CURDIR)/var/screenshots" .venv/bin/python -m pytest -m browser tests/acceptance
	@echo "Look at var/screenshots."

clean: ## Remove the .venv and every cache; the demo's data in $DATA stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
