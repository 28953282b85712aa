# One environment: `make profile` measures a real small model, `make test` runs the tests, `make gpu` gathers a GPU's figures.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/first-profile
EVIDENCE ?=

# Where no GPU is present, the constraints file picks the CPU build of torch. A container may be given any one of several.
DEVICES ?= /dev
GPU := $(wildcard $(DEVICES)/nvidia[0-9]*)
CONSTRAINTS := $(if $(GPU),,--constraint constraints.txt)

# `make test SLOW=1` adds the slow tests; those that need a GPU run where there is one.
SPEED := $(if $(SLOW),,not slow and )
ALONE := $(if $(GPU),(alone or gpu),alone and not gpu)
JOBS ?= $(shell nproc)

.PHONY: profile test gpu gpu-study lint wheel-types clean

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "setting up $(VENV): one to three minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS) --editable '.[measure,mistral,report,triton,test]'
	touch $@

profile: $(VENV)/installed
	$(BIN)/tokprof models pull SmolLM2-135M-Instruct
	$(BIN)/tokprof profile SmolLM2-135M-Instruct --prompt profiler/measure/loop.py --prompt-tokens 256 --new-tokens 32 --out $(OUT) --force

# What judges times or shares of a core, or wants the GPU, runs one by one when the others are done.
test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --maxprocesses 8 --dist worksteal -m "$(SPEED)not (alone or gpu)"
	$(BIN)/pytest -m "$(SPEED)$(ALONE)"

# Each nine minutes on one GPU; where there is no network, run the program with a Python that has what its head lists.
gpu gpu-study: $(VENV)/installed
	$(BIN)/python benchmarks/gpu_evidence.py $(if $(filter gpu-study,$@),--study) $(if $(EVIDENCE),--out $(EVIDENCE))

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Type checkers cannot see through an editable install's folder mapping, so the wheel is what gets checked.
wheel-types: $(VENV)/installed
	rm -rf build/types && mkdir -p build/types
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/types . || $(BIN)/pip wheel --quiet --no-deps --wheel-dir build/types .
	$(BIN)/python -m zipfile -e build/types/tokprof-*.whl build/types/unpacked
	cd build/types/unpacked && MYPYPATH=. $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p tokprof.profiler -p tokprof.kernels -p tokprof.models

clean:
	rm -rf $(VENV) build runs *.egg-info .pytest_cache .mypy_cache .ruff_cache
