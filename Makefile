# The verbs of this repository; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MYPYPATH := coordinator:worker:dashboard

.PHONY: help setup demo test soak check format stubs dashboards bench clean

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

test: setup  ## the whole test suite
	@tests/install_packages.sh
	$(BIN)/python -m pytest -n 2 --dist worksteal

soak: setup  ## simulate SEEDS=100000 worlds on all cores; FIRST=0 is the first seed
	PYTHONPATH=tests $(BIN)/python -m simulation --first $(or $(FIRST),0) --seeds $(or $(SEEDS),100000)

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

bench: setup  ## every benchmark, one after the other
	@for b in gradient round_trip wire scale metrics; do echo "== $$b"; $(BIN)/python benchmarks/$$b.py || exit 1; done

clean:  ## remove the virtualenv and everything built
	rm -rf $(VENV) build dist demo *.egg-info
