# Everything a person does with Miles from a terminal. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHARED ?=# a folder with the public data and recordings that the replay tests and benchmarks read

.PHONY: help run test test-shared test-training lint format bench bench-peers bench-model screenshots train train-own space pins clean

help: ## list what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: $(VENV)/.installed ## start Miles: database, worker and dashboard on http://localhost:8501
	$(BIN)/python -m miles up

test: $(VENV)/.installed-dev ## run all tests that need nothing but this checkout
	$(BIN)/python -m pytest -n auto

test-shared: $(VENV)/.installed-dev ## tests on real recordings and data: make test-shared SHARED=path
	@test -n "$(SHARED)" || { echo "Say where the recordings and data are: make test-shared SHARED=path"; exit 2; }
	MILES_SHARED="$(abspath $(SHARED))" $(BIN)/python -m pytest -n auto tests/replay

test-training: $(VENV)/.installed-training ## tests of the training code (installs PyTorch); SHARED=path adds the judge's
	$(if $(SHARED),MILES_SHARED="$(abspath $(SHARED))") $(BIN)/python -m pytest tests/training

lint: $(VENV)/.installed-dev ## ruff, ruff format and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## the benchmarks, on real data: make bench SHARED=path
	@test -n "$(SHARED)" || { echo "Say where the data is: make bench SHARED=path"; exit 2; }
	$(BIN)/python -m benchmarks.bench_import "$(SHARED)/data/youtube_trending_2025_26.parquet"
	$(BIN)/python -m benchmarks.bench_rollup "$(SHARED)/data/youtube_trending_2025_26.parquet"
	$(BIN)/python -m benchmarks.bench_patterns
	$(BIN)/python -m benchmarks.bench_thin
	$(BIN)/python -m benchmarks.bench_score "$(SHARED)/data/youtube_trending_2025_26.parquet"
	$(BIN)/python -m benchmarks.bench_pages "$(SHARED)/data/youtube_trending_2025_26.parquet"
	$(BIN)/python -m benchmarks.bench_users "$(SHARED)/data/youtube_trending_2025_26.parquet"
	$(BIN)/python -m benchmarks.bench_explain "$(SHARED)/data/youtube_trending_2025_26.parquet"
	$(BIN)/python -m benchmarks.bench_collect "$(SHARED)"
	$(BIN)/python -m benchmarks.bench_api

bench-peers: $(VENV)/.installed-dev ## the pages beside Datasette and a pandas page: make bench-peers SHARED=path
	@test -n "$(SHARED)" || { echo "Say where the data is: make bench-peers SHARED=path"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-peers.txt
	$(BIN)/python -m benchmarks.bench_peers "$(SHARED)/data/youtube_trending_2025_26.parquet"

bench-model: $(VENV)/.installed-training ## the shipped model against PyTorch, after `make train`: make bench-model DATA=folder
	@test -n "$(DATA)" || { echo "Say where the data is: make bench-model DATA=path"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.bench_scoring "$(DATA)"

screenshots: $(VENV)/.installed-dev ## take docs/images anew, from the real dashboard with sample data
	$(BIN)/python docs/screenshots.py

train: $(VENV)/.installed-training ## make model/ anew: make train DATA=folder-of-parquet-files [JUDGE=folder]
	@test -n "$(DATA)" || { echo "Say where the data is: make train DATA=path (or learn from your own: make train-own)"; exit 2; }
	$(BIN)/python -m training --data "$(DATA)" $(if $(JUDGE),--judge "$(JUDGE)")

train-own: $(VENV)/.installed-training ## make a model from what this installation has collected, beside the shipped one
	$(BIN)/python -m training --from-database

space: ## the files of a Hugging Face Space that serves the API: make space TO=folder
	@test -n "$(TO)" || { echo "Say where: make space TO=folder"; exit 2; }
	mkdir -p "$(TO)" && git archive HEAD Dockerfile .dockerignore requirements-api.txt miles model | tar -x -C "$(TO)"
	cp deploy/space.md "$(TO)/README.md"

pins: ## write constraints.txt anew from what requirements*.txt bring along
	rm -rf build/pins && $(PYTHON) -m venv build/pins && sed 's/^-c .*//' requirements.txt > build/requirements.txt
	sed '/^-c /d; s|^-r .*|-r requirements.txt|' requirements-dev.txt > build/requirements-dev.txt
	build/pins/bin/pip install --quiet -r build/requirements-dev.txt
	(head -n 2 constraints.txt && build/pins/bin/pip freeze) > build/constraints.txt && mv build/constraints.txt constraints.txt

clean: ## remove the virtual environment and caches; what Miles has collected stays
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis screenshots

$(VENV)/.installed: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Miles needs Python 3.11 or newer; $(PYTHON) is older. Try: make run PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	./tests/browser/install-chromium $(BIN)/python
	@touch $@

$(VENV)/.installed-training: $(VENV)/.installed-dev training/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r training/requirements.txt
	@touch $@
