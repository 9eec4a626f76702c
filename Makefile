.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Whatever the caller's pip is told to do elsewhere: it installs into the environments made here
override export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PYTHONHOME CDPATH BASH_ENV BASHOPTS SHELLOPTS

MINUTES ?= 1
REPLICAS ?=
KILLS ?= 200
OUTAGE ?= 300
SIEGE ?= 20
DRILLS ?= 20
RATE ?= 100
FAULT ?=
FULL ?=
BASELINE ?= check

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# One environment, two sets: what mcctl and a platform on this machine need, and what development adds
# to it. Whoever has the larger one keeps it.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed, $$($(PYTHON) --version) was found; set PYTHON=..." >&2; exit 2; }
	@echo "installing requirements/$(1).lock into $(VENV), about half a minute ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --require-hashes -r requirements/$(1).lock -r requirements/build.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@
endef

$(STAMP): requirements/development.lock requirements/build.lock pyproject.toml
	$(call install,development)

$(VENV)/.locked-operations: requirements/operations.lock requirements/build.lock pyproject.toml
	$(call install,operations)

setup: $(STAMP) ## make .venv with .venv/bin/mcctl and everything that tests and checks need

install: $(or $(wildcard $(STAMP)),$(VENV)/.locked-operations) ## make .venv with .venv/bin/mcctl, without what only development needs

run: install ## start the platform and run Day-0 on it (MINUTES=1 REPLICAS=1 FAULT=slow=2|errors=0.05)
	@$(BIN)/mcctl up
	@trap : INT; $(BIN)/mcctl runbook run day-0 --env local --minutes $(MINUTES) $(if $(REPLICAS),--set REPLICAS=$(REPLICAS)) \
		--set FAULT=$(or $(FAULT),none) --yes; code=$$?; \
		echo; $(BIN)/mcctl status; echo; \
		echo "gateway   http://127.0.0.1:$${MC_EDGE_PORT:-8080}   (left running; make down stops it)"; \
		exit $$code

down: install ## stop everything that `make run` started
	@$(BIN)/mcctl down

# What takes longest first, so that nothing long is left to one worker at the end; then whatever else
# there is below tests/
LONGEST := tests/journeys tests/property
# `make cluster-test` runs tests/cluster
TESTS := $(LONGEST) $(filter-out $(LONGEST) tests/cluster tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/)))

# What is compiled is kept, whatever the shell says: tests start some hundred processes
test test-long test-quick: export PYTHONDONTWRITEBYTECODE =

PYTEST := $(BIN)/python -m pytest -q --durations=25
WORKERS ?= 4
SIDE_BY_SIDE = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# `make test` runs what takes no minutes. CI runs all of it in three parts: what starts processes and waits,
# with the longest file first; what computes; what measures time
STORIES := tests/deploy/test_image.py tests/journeys tests/isolation tests/regions tests/cli
WHAT_ := $(SIDE_BY_SIDE) -m "not alone and not long" $(TESTS)
WHAT_stories := $(SIDE_BY_SIDE) -m "not alone" $(STORIES)
WHAT_units := $(SIDE_BY_SIDE) -m "not alone" $(filter-out $(STORIES),$(TESTS)) $(STORIES:%=--ignore=%)
WHAT_alone := -m alone tests/journeys
WHAT = $(or $(WHAT_$(PART)),$(error PART=$(PART): stories, units, alone, or nothing))

test: setup ## run the tests, side by side; tell the slowest 25 (PART=stories|units|alone: a third, with what is long)
	$(PYTEST) $(WHAT)

# The image is the longest file, so its folder is first
test-long: setup ## run what takes minutes, as CI does: kills, sieges, costs, alerts; then Day-0, alone
	$(PYTEST) $(SIDE_BY_SIDE) -m "long and not alone" tests/deploy $(filter-out tests/deploy,$(TESTS))
	$(PYTEST) $(WHAT_alone)

test-quick: setup ## units, contracts and architecture, without processes and databases: under 90 s
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not alone and not slow and not long" tests/architecture tests/contracts tests/unit

lint: setup migrations ## ruff: format and rules; squawk: migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# By the mark of the runner (schema_files.py): what is in a transaction may not do what only others may
MIGRATIONS := src/mc_platform/migrations
SQUAWK := $(BIN)/squawk --no-error-on-unmatched-pattern
OUTSIDE := ^-- outside a transaction$$

migrations: setup ## squawk: migrations that would lock the service out, or break the version before
	$(SQUAWK) --assume-in-transaction $$(grep -L '$(OUTSIDE)' $(MIGRATIONS)/*.sql) </dev/null
	$(SQUAWK) $$(grep -l '$(OUTSIDE)' $(MIGRATIONS)/*.sql) </dev/null

types: setup ## mypy, strict
	$(BIN)/mypy

contracts: setup ## import directions
	$(BIN)/lint-imports

SITE := .venv-docs
$(SITE)/.locked: docs/requirements.lock
	@$(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@

docs: $(SITE)/.locked ## build the site of docs/ into dist/docs; a dead link fails
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet

check: test test-long lint types contracts docs ## what CI runs

crash-test: setup ## kill -9 at random under load, then account for every request (KILLS=200)
	@$(BIN)/python -m tests.crash --kills $(KILLS)

outage-test: setup ## the SIEM down under load, and back: nothing lost (OUTAGE=300 seconds)
	@$(BIN)/python -m tests.crash --kills 0 --outage $(OUTAGE)

siege: setup ## a hostile tenant and a hostile agent beside an honest tenant (SIEGE=20 minutes)
	@$(BIN)/python -m tests.siege --minutes $(SIEGE)

drills: setup ## two regions: the home killed under load, on alternating sides (DRILLS=20 RATE=100 requests/s)
	@$(BIN)/python -m tests.drills --times $(DRILLS) --rate $(RATE) --out out/drills-$$(date -u +%Y%m%dT%H%M%S)

# Peers of the benchmarks and tests, each in an environment of its own, for the comparison alone
.venv-%/.locked: benchmarks/%.lock
	@echo "installing $* into $(@D) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@

CLUSTER := tests/cluster/cluster.sh

cluster: setup ## start a Kubernetes cluster for tests on this machine, as root (builds it the first time)
	@$(CLUSTER) up

cluster-down: ## take the cluster away, with all that it made
	@$(CLUSTER) down

cluster-crash: ## a node of the cluster loses its power, with all its pods (N=2); N=2 BACK=1 starts it again
	@$(CLUSTER) $(if $(BACK),node,crash) $(or $(N),2)

cluster-test: setup ## stories with the real controllers, kubelets and proxy, on that cluster (ONLY="-m 'not long'", ONLY=--last-failed)
	@TEST_CLUSTER=1 $(PYTEST) $(ONLY) tests/cluster

bench: setup .venv-presidio/.locked ## one table of what costs what beside its peers; fails if dearer than the baseline (BASELINE=write renews it)
	@$(MAKE) --no-print-directory .venv-contextforge/.locked || rm -rf .venv-contextforge
	@$(BIN)/python benchmarks/bench.py --baseline $(BASELINE)

bench-scale: setup ## what things cost at growing sizes, in a quarter of an hour at most (FULL=1: all sizes)
	@$(BIN)/python benchmarks/bench.py --scale $(if $(FULL),--full)

sbom: setup ## the bills of materials of a replica, and of mcctl (CycloneDX 1.6), into dist/sbom
	@for lock in service operations; do \
		$(BIN)/python tools/sbom.py requirements/$$lock.lock dist/sbom/$$lock.cdx.json && \
		echo dist/sbom/$$lock.cdx.json || exit; done

# Needs a builder, and the base by its digest; docs/how-to/image.md
BASE ?=
IMAGE ?= agent-workbench$(if $(filter operations,$(TARGET)),-operations):$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BUILDER ?= $(firstword $(foreach one,docker podman buildah,$(if $(shell command -v $(one)),$(one))))
COMMIT = $(shell git rev-parse HEAD)$(if $(shell git status --porcelain),-dirty)

TARGET ?= service

image: sbom ## the image of a replica, or TARGET=operations (BASE=REGISTRY/python:3.13-slim-bookworm@sha256:...; IMAGE= BUILDER=)
	@[ -n "$(BUILDER)" ] || { echo "docker, podman or buildah is needed" >&2; exit 2; }
	$(BUILDER) build -f Containerfile --target $(TARGET) --build-arg BASE=$(BASE) --build-arg COMMIT=$(COMMIT) -t $(IMAGE) .

COMPILE := .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header

# The largest first: the others keep to its versions
lock: ## resolve dependencies anew into requirements/*.lock (hashes, no registry host)
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --extra dev pyproject.toml requirements/build.in -o requirements/development.lock
	set -- -c requirements/development.lock pyproject.toml; \
		$(COMPILE) "$$@" -o requirements/service.lock; \
		$(COMPILE) "$$@" --extra operations -o requirements/operations.lock
	$(COMPILE) -c requirements/development.lock requirements/build.in -o requirements/build.lock
	for peer in benchmarks/presidio benchmarks/contextforge benchmarks/nca benchmarks/checkov benchmarks/tracekit benchmarks/a2a03 docs/requirements; do \
		$(COMPILE) $$peer.in -o $$peer.lock || exit; done
	$(COMPILE) -c requirements/development.lock benchmarks/ner.in -o benchmarks/ner.lock
	rm -rf .venv-lock

.PHONY: help setup install run down test test-long test-quick lint migrations types contracts docs check crash-test outage-test siege drills cluster cluster-down cluster-crash cluster-test bench bench-scale sbom image lock
