# make repro: the study; make test: the tests. Both first set up .venv where it is missing or out of date.
PYTHON ?= python3.11
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup repro test lint

setup: .venv/installed

.venv/installed: requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

repro: setup
	python -m stages.params
	dvc repro

test: setup
	python -m pytest

lint: setup
	ruff check
