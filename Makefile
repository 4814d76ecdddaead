# interceptor: make demo shows it, make test proves it; both set up all they need.

SHELL := /bin/bash -euo pipefail
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-long test-kubernetes test-vm test-vagrant box lint format bench bpf wheels images release-check readme lock clean

# Debian's own, so that python3-bpfcc, which PyPI does not have, can be imported.
PYTHON ?= /usr/bin/python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
# Two workers a core: half of a test's time is waiting, for processes and for what must not come.
WORKERS ?= $(shell expr 2 '*' $$(nproc))
TESTS ?= tests
PACKETS ?= 100000
# Another every time; what disagrees is printed with it.
SEED ?= $(shell date +%s)
# Debian's; each is the newest that begins so, `newest` the newest of all.
KERNELS ?= 5.10 6.1 6.12
# Machines at once; 0 is as many as this one bears. ALL=1 runs the whole suite in each.
JOBS ?= 0
ALL ?=
# Times what a machine may take, where others work on this one too.
PATIENCE ?= 1
VM := $(CURDIR)/.cache/vm
# Where what is built for test-kubernetes stays: five minutes' work, 240 MB.
KUBERNETES ?= $(CURDIR)/.cache/kubernetes

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: .stamps/project ## packages, .venv and .venv/bin/interceptor; a second run does nothing

demo: setup ## the main job on a real Envoy, in namespaces made for it (root)
	@$(BIN)/python -m tests.lab.demo

test: setup ## the whole suite (root)
	$(BIN)/pytest -n $(WORKERS) --no-skips $(TESTS)

test-long: setup ## many random packets, foretold and sent; SEED=... does others (root)
	DIFFERENTIAL_PACKETS=$(PACKETS) DIFFERENTIAL_SEED=$(SEED) \
	  $(BIN)/pytest -n $(WORKERS) --no-skips tests/contract/test_differential.py

test-kubernetes: setup $(KUBERNETES)/version $(KUBERNETES)/bin/kustomize ## pods of a real API server and kubelet, built at first (root)
	KUBERNETES=$(KUBERNETES) $(BIN)/pytest --no-skips tests/kubernetes

test-vm: setup .stamps/vm ## the suite's core on other kernels, emulated: KERNELS="5.10 6.1" JOBS=2 ALL=1 (root)
	$(BIN)/python -m tests.lab.vm --cache $(VM) --jobs $(JOBS) --patience $(PATIENCE) $(if $(ALL),--all) $(KERNELS)

box: .stamps/vagrant ## a box for vagrant from Debian packages, without a registry (root)
	@vagrant/box $(CURDIR)/.cache/vagrant

test-vagrant: setup box ## vagrant up with that box, emulated, and the suite's core inside (root)
	@vagrant/try $(CURDIR)/.cache/vagrant

lint: setup ## ruff, mypy, and whether the README shows what the program prints
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m tests.lab.readme --check

format: setup ## rewrite the code as the formatter likes it, and the README's examples
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python -m tests.lab.readme

bench: setup ## how long things take, beside a bare tool in the same run (root)
	@$(BIN)/python -m bench

bpf: setup ## compile rules/bpf, as setup does where a source is newer

wheels: setup ## what the images' Python packages are installed from, in dist/wheels
	@images/wheels

images: wheels ## the container images, with podman and no registry, in dist/images too (root)
	@images/build

release-check: setup ## a wheel and a source archive in dist, whole, and each way to install them tried (root)
	@$(BIN)/python -m tests.lab.release dist

lock: setup ## move the pinned versions to the newest
	.ci/lock

clean: ## forget the set-up; Debian packages stay
	rm -rf .venv .stamps .cache interceptor/_bpf .mypy_cache .pytest_cache .ruff_cache .hypothesis dist

# Hosts without apt bring the tools themselves.
define install_packages
	@if command -v apt-get >/dev/null; then \
	  packages=$$(sed 's/#.*//' $(1)); \
	  missing=$$(for p in $$packages; do \
	    dpkg-query -Wf '$${Status}' $$p 2>/dev/null | grep -q ' installed' || echo $$p; done); \
	  if [ -n "$$missing" ]; then \
	    echo "installing Debian packages:" $$missing; \
	    apt-get update -qq; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing >/dev/null; \
	  fi; \
	fi
endef

# Each stamp is newer than what it was made from.
.stamps/debian: .ci/debian-packages.txt
	@mkdir -p $(@D)
	$(call install_packages,$<)
	@touch $@

.stamps/vm: tests/vm/packages.txt .stamps/debian
	$(call install_packages,$<)
	@touch $@

.stamps/vagrant: vagrant/packages.txt
	@mkdir -p $(@D)
	$(call install_packages,$<)
	@touch $@

$(KUBERNETES)/version: tests/kubernetes/build tests/kubernetes/packages.txt | .stamps/debian
	$(call install_packages,tests/kubernetes/packages.txt)
	@echo "building Kubernetes: this takes about five minutes"
	@tests/kubernetes/build $(KUBERNETES)

$(KUBERNETES)/bin/kustomize: tests/kubernetes/kustomize tests/vm/apt | $(KUBERNETES)/version
	@tests/kubernetes/kustomize $(KUBERNETES)

.stamps/venv: .ci/build.lock .ci/dev.lock .stamps/debian
	@echo "making .venv"
	@rm -rf .venv && $(PYTHON) -m venv --system-site-packages .venv
	@$(PIP) --require-hashes -r .ci/build.lock
	@$(PIP) --require-hashes --no-build-isolation -r .ci/dev.lock
	@touch $@

# Hosts without clang go without this backend.
BPF := interceptor/_bpf/interceptor.bpf.o interceptor/_bpf/inbound.bpf.o

$(BPF) &: $(wildcard rules/bpf/*.[ch]) .ci/bpf .stamps/debian
	@.ci/bpf

.stamps/project: pyproject.toml .stamps/venv $(BPF)
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q interceptor
	@touch $@
