# Every target sets up what it needs in .venv: a fresh clone needs Python 3.11 or newer
# and `make`, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# With the extras that the slow tests need.
ALL_INSTALLED := $(VENV)/.all-installed
WORKERS ?= 2

.PHONY: demo test test-all lint type format install clean
.PHONY: results estimators checker false-alarms ablation sb3-table bench bench-gpu

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(ALL_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,video,zoo,box2d,mujoco,robotics]"
	touch $@

demo: $(INSTALLED)
	$(BIN)/python demos/sequence.py --out out/sequence

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal

# With the share of lines and branches that are covered, of which 95 % are asked for: to
# trace them makes the tests half as long again.
test-all: $(ALL_INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The page from docs/results; RUNS=runs takes what is in that folder first.
results: $(INSTALLED)
	$(BIN)/python benchmarks/results.py $(if $(RUNS),--runs $(RUNS))

estimators: $(INSTALLED)
	$(BIN)/python benchmarks/estimators.py

checker: $(INSTALLED)
	$(BIN)/python benchmarks/checker_tables.py

sb3-table: $(INSTALLED)
	$(BIN)/python benchmarks/sb3_table.py

# About an hour; what it has counted so far is kept.
false-alarms: $(INSTALLED)
	$(BIN)/python benchmarks/false_alarms.py

# 350 runs of CartPole, about an hour on two cores; goes on where it was stopped.
ablation: $(INSTALLED)
	$(BIN)/python benchmarks/ablation.py

# Goes on where it was stopped; BENCH="--only NAME" measures a line anew, BENCH=--quick
# tries everything out and keeps nothing.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed $(BENCH)

bench-gpu: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed.gpu $(BENCH)

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
