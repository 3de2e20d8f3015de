# The verbs of this repository; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MYPYPATH := coordinator:worker:dashboard

.PHONY: help setup demo test contract soak fuzz check format stubs dashboards rules lock sbom audit bench clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

setup: $(VENV)/.ready  ## a virtualenv in .venv with everything

demo: setup  ## train on 336,776 real flights with a local cluster
	@$(BIN)/python examples/flights.py --out demo/flights.parquet
	$(BIN)/gradloom train logistic --data demo/flights.parquet --target late --workers 4 --test-fraction 0.2 --out demo/flights.safetensors

# More processes than cores, because many tests wait; a module with its cluster stays in one of them.
test: setup  ## the whole test suite
	@$(BIN)/python -m compileall -q gradloom coordinator worker dashboard tests  # once, not in each process that a test starts
	@tests/install_packages.sh
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder -m "not containers"
	$(BIN)/python -m pytest -m containers

# What the contract needs and no more: for another Python it is installed anew each time. Byte code is left to those who
# import it, which is a tenth of what there is, and is wanted even where PYTHONDONTWRITEBYTECODE says otherwise.
$(VENV)/.contract: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -e $(VENV)/.ready || $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@test -e $(VENV)/.ready || $(BIN)/python -m pip install --quiet --no-compile --editable '.[coordinator,worker,sklearn]' --group test
	@touch $@

# What may depend on the interpreter: each algorithm's whole life, its file, its registration, and what it comes to.
contract: $(VENV)/.contract  ## every algorithm's contract and reference; PYTHON=python3.12 VENV=.venv-3.12 for another Python
	PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q $(addprefix tests/unit/algorithms/test_,contract.py equality.py registry.py)

soak: setup  ## simulate SEEDS=100000 worlds on all cores; FIRST=0 is the first seed
	PYTHONPATH=tests $(BIN)/python -m simulation --first $(or $(FIRST),0) --seeds $(or $(SEEDS),100000)

fuzz: setup  ## fuzz every decoder with atheris for SECONDS=60 each; TARGETS="npz model" are only those
	@$(BIN)/python -m pip install --quiet --group fuzz
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(or $(SECONDS),60) $(TARGETS)

check: setup  ## ruff, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: setup  ## write gradloom/v1 from protos/
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=. --mypy_out=quiet:. \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy protos/gradloom/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -I protos --grpc_python_out=. protos/gradloom/v1/*_service.proto

dashboards: setup  ## write dashboard/grafana/dashboards from the panels in dashboard/grafana
	$(BIN)/python dashboard/grafana/generate.py

rules: setup  ## write the rules of dashboard/prometheus once more, for Kubernetes
	$(BIN)/python dashboard/prometheus/kubernetes.py

# The locks are written by uv, in a virtualenv of its own: nothing of it gets near what users install.
build/supply/.ready: pyproject.toml
	@$(PYTHON) -m venv build/supply
	@build/supply/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@build/supply/bin/python -m pip install --quiet --group supply
	@touch $@

LOCK = build/supply/bin/uv pip compile pyproject.toml --quiet --no-config --python-version 3.12 --only-binary :all: \
	--generate-hashes --default-index https://pypi.org/simple --custom-compile-command "make lock" $(LOCKFLAGS)

# What the control room's packages name, and the control room never imports: docs/decisions/0007-images.md.
NOT_IN_DASHBOARD = pyarrow docutils uvloop watchfiles \
	aiohttp aiohappyeyeballs aiosignal frozenlist propcache yarl

lock: build/supply/.ready  ## pin what the images install; LOCKFLAGS=--upgrade takes newer versions
	$(LOCK) --extra coordinator --extra postgres --extra s3 --output-file coordinator/requirements.lock
	$(LOCK) --extra worker --extra s3 --output-file worker/requirements.lock
	$(LOCK) --extra dashboard $(addprefix --no-emit-package ,$(NOT_IN_DASHBOARD)) --output-file dashboard/requirements.lock

sbom: build/supply/.ready  ## build/sbom: CycloneDX bills of materials, from the locks
	@mkdir -p build/sbom
	@for role in coordinator worker dashboard; do \
		build/supply/bin/cyclonedx-py requirements $$role/requirements.lock --output-file build/sbom/$$role.cdx.json || exit 1; done

audit: build/supply/.ready  ## compare the locks with known advisories
	@for role in coordinator worker dashboard; do \
		build/supply/bin/pip-audit --disable-pip --requirement $$role/requirements.lock || exit 1; done

bench: setup  ## every benchmark, one after the other
	@for b in gradient round_trip wire scale metrics; do echo "== $$b"; $(BIN)/python benchmarks/$$b.py || exit 1; done

clean:  ## remove the virtualenv and everything built
	rm -rf $(VENV) build dist demo *.egg-info
