# `make sim` and `make test` each work as the only command on a fresh machine: they make .venv and install into it what is
# missing. A stamp in .venv, compared with pyproject.toml and constraints.txt, lets the next call start at once.
# ARGS are handed on: make sim ARGS="--rounds 10 --seed 2", make test ARGS="tests/net -x".

PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
USE := .venv/.installed
DEVELOP := .venv/.installed-for-development
# Nodes and tests share the cores; a pool of threads in each of them would only be in the others' way.
export OMP_NUM_THREADS ?= 1

# What takes half an hour and more, one after the other; the matrix of attacks takes hours, and goes on where it was stopped.
SOAKS := crash soak attacks cost.beside cost.disk
modules = $(filter-out __init__ make_% %_attacker smollm2 $(SOAKS:cost.%=%),$(basename $(notdir $(wildcard $(1)/*.py))))
BENCHMARKS := $(call modules,benchmarks) $(addprefix cost.,$(call modules,benchmarks/cost)) zoo zoo.architectures

.PHONY: help sim test lint format bench soak docs clean

help:
	@echo "make sim    a swarm of eight nodes on this machine (ARGS: see .venv/bin/swarmd sim --help)"
	@echo "make test   all tests"
	@echo "make lint   ruff and mypy; make format mends what ruff can"
	@echo "make bench  the benchmarks, each printing its figures"
	@echo "make soak   what takes long, each printing JSON: fuzzing, a daemon killed hundreds of times, eight of them for half an hour, every attack"
	@echo "make docs   generate node.toml.example, docs/cli.md and docs/exit-codes.md anew"
	@echo "make clean  remove caches and reports (.venv stays)"

sim: $(USE)
	@.venv/bin/swarmd sim --nodes 8 $(ARGS)

# Two files at a time, since many tests wait; the order is kept, so that the daemons, who take longest, come early.
test: $(DEVELOP)
	@$(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(DEVELOP)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: $(DEVELOP)
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: $(DEVELOP)
	@for name in $(BENCHMARKS); do $(PY) -m benchmarks.$$name || exit 1; done

soak: $(DEVELOP)
	-@$(PIP) atheris
	@$(PY) -m fuzz --runs 1000000
	@for name in $(SOAKS); do $(PY) -m benchmarks.$$name || exit 1; done

docs: $(USE)
	@.venv/bin/swarmd config example > node.toml.example
	@$(PY) -m swarm.cli.reference docs

clean:
	@rm -rf build dist *.egg-info sim-report .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -not -path './node_modules/*' -prune -exec rm -rf {} +

$(USE): pyproject.toml constraints.txt
	@$(call install,,.)
	@touch $(USE)

$(DEVELOP): pyproject.toml constraints.txt
	@$(call install,test,.[dev])
	@touch $(USE) $(DEVELOP)

# $(1): for whom prerequisites are checked; $(2): what is installed. torch comes first, since it is by far the largest.
define install
python=$$(tools/prerequisites $(1)) || exit 1; \
echo "installing into .venv; the first time takes some minutes" >&2; \
$(PY) -m pip --version > /dev/null 2>&1 || $$python -m venv --clear .venv || exit 1; \
$(PIP) "$$(grep '^torch==' constraints.txt)" && $(PIP) --editable '$(2)'
endef

# Two installations at once would be in each other's way.
.NOTPARALLEL:
