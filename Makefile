# make repro: the study; make test: the tests. Both first set up .venv where it is missing or out of date.
# make train JOBS=n: the study's trainings, n stages at a time; make ray: what train.engine: ray needs;
# make clean-work: remove checkpoints and results that wait in .work/, while nothing trains.
PYTHON ?= python3.11
JOBS ?= 2
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup ray repro train test lint clean-work

setup: .venv/installed

.venv/installed: requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

ray: setup
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements-ray.txt -c constraints.txt

repro: setup
	python -m stages.params
	python -m stages.mend
	dvc repro

train: setup
	python -m stages.jobs $(JOBS)

clean-work:
	rm -rf .work

test: setup
	python -m pytest --numprocesses auto --dist loadfile

lint: setup
	ruff check
