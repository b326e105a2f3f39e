# Every target sets up what it needs in .venv: a fresh clone needs Python 3.11 or newer
# and `make`, nothing else.
PYTHON ?= python3
# A package index to take PyTorch from, such as that of its CPU builds; the README says
# where to find it. Empty for pip's own.
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SITE_INSTALLED := $(VENV)/.site-installed
# With the extras that the slow tests need.
ALL_INSTALLED := $(VENV)/.all-installed
NOTEBOOKS_INSTALLED := $(VENV)/.notebooks-installed
WHEEL_VENV := out/wheel-venv
WORKERS ?= 2

.PHONY: demo test test-all test-gpu wheel-test dist sb3-suite lint type format install
.PHONY: clean pictures results ablation bench bench-gpu estimators checker false-alarms
.PHONY: call-trace check-your-script exercises notebooks script-checks script-alarms
.PHONY: site site-test site-links

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "pgtoy needs Python 3.11 or newer, and $(PYTHON) is" \
	        "$$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12" >&2; \
	    exit 1; }
	@echo "Installing into $(VENV); most of it is PyTorch." \
	    $(if $(TORCH_INDEX),,"TORCH_INDEX=... takes a smaller build without CUDA (see README).")
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --constraint constraints.txt --index-url $(TORCH_INDEX) torch)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(ALL_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,video,zoo,box2d,mujoco,robotics,site]"
	touch $@

$(SITE_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,site]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,video,zoo,box2d,mujoco,robotics,notebooks]"
	touch $@

$(NOTEBOOKS_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[notebooks]"
	touch $@

demo: $(INSTALLED)
	$(BIN)/python demos/sequence.py --out out/sequence

# NumPy's small matrix products are several times slower when two workers each use
# all cores for one of them.
ONE_THREAD := OPENBLAS_NUM_THREADS=1

test: $(INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal

# With coverage of lines and branches, of which 95 % are required; tracing takes half as
# long again.
test-all: $(ALL_INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term

# Tests that need a CUDA device; they are skipped without one.
test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu

# Builds the wheel, installs it into an empty environment, and uses it from another
# folder: a short run, and pretrained weights without a screen.
wheel-test:
	rm -rf $(WHEEL_VENV) out/wheel out/wheel-run
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip wheel --quiet --no-deps --wheel-dir out/wheel .
	$(WHEEL_VENV)/bin/python -m pip install --quiet --constraint constraints.txt out/wheel/*.whl
	mkdir -p out/wheel-run
	cd out/wheel-run && ../../$(WHEEL_VENV)/bin/pgtoy run known-values
	cd out/wheel-run && ../../$(WHEEL_VENV)/bin/pgtoy run sequence-reinforce --seeds 1
	cd out/wheel-run && SDL_VIDEODRIVER=dummy ../../$(WHEEL_VENV)/bin/pgtoy record improvements --steps 50 --to trained.gif
	test -s out/wheel-run/trained.gif

# A source distribution and a wheel in dist/, ready to upload. With PROJECT_URL in the
# environment, the address of the repository, pictures and links of the README work on
# the index, too.
dist: $(INSTALLED)
	$(BIN)/python -m pip install --quiet build twine
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

# SB3's own tests of A2C with our classes in its place; downloads SB3's source
# distribution, and needs the program `zip`.
sb3-suite: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "pandas>=2.2,<3"
	$(BIN)/python -m proofs.sb3_suite

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site of the documentation, in out/site; a warning is an error. PROJECT_URL=... is
# the address that readers clone from.
site: $(SITE_INSTALLED)
	$(BIN)/python docs/make_site.py

# Builds the site anew, follows its links and opens each page in headless Chromium, which
# is not among Python's packages: apt-get install chromium (Debian), or a Chrome that is
# called google-chrome.
site-test: $(SITE_INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m pytest tests/test_site.py

# Asks the addresses outside the site, too; needs the network.
site-links: $(SITE_INSTALLED)
	$(BIN)/python docs/make_site.py --builder linkcheck --out out/site-links

# Every picture of README and docs/pictures; ONLY="film environments" makes some of them.
pictures: $(INSTALLED)
	$(BIN)/python docs/make_pictures.py $(ONLY)

# Executes the notebooks, prints the time of each, and fails if one does; no screen is
# needed. ONLY="01-bandit 02-sequence" executes some, ONLY=--write also writes the times
# of all into notebooks/README.md.
notebooks: $(NOTEBOOKS_INSTALLED)
	$(ONE_THREAD) $(BIN)/python notebooks/execute.py $(ONLY)

# From the summaries in docs/results; RUNS=runs first takes new ones from that folder.
results: $(INSTALLED)
	$(BIN)/python docs/make_pages.py results $(if $(RUNS),--runs $(RUNS))

# 350 runs of CartPole, about an hour on two cores; continues where it was stopped.
ablation: $(INSTALLED)
	$(BIN)/python -m bench.ablation
	$(BIN)/python docs/make_pages.py ablation

# Measures what docs/speed.json lacks, 45 minutes on two idle cores if that is all;
# BENCH="--only NAME" measures a comparison anew, BENCH=--quick tries everything and
# saves nothing.
bench: $(INSTALLED)
	$(BIN)/python -m bench.speed $(BENCH)
	$(BIN)/python docs/make_pages.py speed

# Measures on a CUDA device and writes docs/gpu.md. BENCH="--device cpu --quick" tries
# it without one and writes nothing.
bench-gpu: $(INSTALLED)
	$(BIN)/python -m bench.gpu $(BENCH)

estimators: $(INSTALLED)
	$(BIN)/python docs/make_pages.py estimators

# Checks what docs/checker_runs.json lacks, 10 minutes on an idle core if that is all.
# PARTS="planted agents" checks these parts alone.
checker: $(INSTALLED)
	$(BIN)/python -m proofs.checker_runs $(PARTS)
	$(BIN)/python docs/make_pages.py checker

check-your-script: $(INSTALLED)
	$(BIN)/python docs/make_pages.py check-your-script

exercises: $(INSTALLED)
	$(BIN)/python docs/make_pages.py exercises

# The training scripts of the tests, right and wrong: about an hour; continues where it
# was stopped.
script-checks: $(INSTALLED)
	$(BIN)/python -m proofs.script_checks

# Right scripts, again and again: about an hour; continues where it was stopped.
script-alarms: $(INSTALLED)
	$(BIN)/python -m proofs.script_alarms

# About an hour; continues where it was stopped.
false-alarms: $(INSTALLED)
	$(BIN)/python -m proofs.false_alarms

call-trace: $(INSTALLED)
	$(BIN)/python -m proofs.call_trace

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
