# make demo | serve | test | lint | bench NAME=x [ARGS="..."] | clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
OUT ?= out
NAME ?=
ARGS ?=

.PHONY: demo serve test lint format bench clean

demo: $(VENV)/worker.stamp
	$(BIN)/congeal demo --out $(OUT)

serve: $(VENV)/worker.stamp
	$(BIN)/congeal up

test: lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/worker.stamp
	@test -n "$(NAME)" || { echo "usage: make bench NAME=<$$(ls benchmarks | sed 's/\.py$$//' | grep -v __ | paste -sd '|')>"; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

clean:
	rm -rf $(VENV) $(OUT) build dist

$(VENV)/worker.stamp: pyproject.toml constraints.txt
	@echo "Installing Congeal into $(VENV) (a few minutes and 6 GB the first time) ..."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[worker]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/worker.stamp
	$(PIP) --editable ".[worker,dev]"
	touch $@
