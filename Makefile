# make repro: the study; make test: the tests; make test-long: those that take minutes. Each first sets up .venv where it is
# missing or out of date.
# make train JOBS=n: the study's trainings, n stages at a time; make ray: what train.engine: ray needs;
# make pretrained, make av: what pretrained encoders need, and sound out of video files;
# make clean-work: remove what waits in .work/ but how long runs took, while nothing trains;
# make status: how much of the study is done, and how long its trainings will still take;
# make experiments: a table of the experiments, with their scores and those of their params that differ.
PYTHON ?= $(shell command -v python3.11 || echo python3)
IS_3_11 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'
JOBS ?= 2
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup ray pretrained av repro train status test test-long lint clean-work experiments

setup: .venv/installed dvc_plots/vega.js

dvc_plots/vega.js: .venv/installed tools/vega.py
	python -m tools.vega

.venv/installed: requirements.txt constraints.txt
	@test -e .git || { echo "error: this folder must be a git repository, which DVC needs, but has no .git: clone it," \
		"or run git init && git add --all && git commit --message start"; exit 1; } >&2
	@$(PYTHON) $(IS_3_11) 2>/dev/null || { echo "error: needs Python 3.11, but $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there):" \
		"make PYTHON=/path/to/python3.11 …"; exit 1; } >&2
	.venv/bin/python $(IS_3_11) 2>/dev/null || $(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

ray pretrained av: setup
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements-$@.txt -c constraints.txt

repro: setup
	python -m tools.repair_lock
	dvc repro

train: setup
	python -m tools.jobs $(JOBS)

clean-work:
	test ! -e .work || find .work -mindepth 1 -maxdepth 1 ! -name times -exec rm -rf {} +

test: setup
	python -m pytest --numprocesses auto --dist loadfile -m "not long"

test-long: setup
	python -m pytest -m long

lint: setup
	ruff check

status: setup
	@python -m tools.status

experiments: setup
	@python -m tools.experiments
