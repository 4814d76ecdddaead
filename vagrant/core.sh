#!/bin/sh
# Inside, as root: run what make test-vm runs on this kernel.
set -eu

cd "$1"
echo "kernel $(uname -r)"
.venv/bin/python -m tests.lab.vm.chosen >/tmp/arguments
.venv/bin/python -m pytest @/tmp/arguments
echo "the core of the suite passed on $(uname -r)"
