PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18
