#!/bin/sh
# Inside, as root: run what make test-vm runs on this kernel.
#
#   core.sh PROJECT [VERSION]
#
# fails if a test failed or was skipped, and if the kernel is not one of that version: a machine
# whose boot loader chose another must not pass for it.
set -eu

release=$(uname -r)
echo "kernel $release"
case $release in
  "${2:-${release%%.*}}".*) ;;
  *)
    echo "this machine boots Linux $release, and not $2" >&2
    echo "hint: make it anew (vagrant destroy and vagrant up)" >&2
    exit 1
    ;;
esac
arguments=$(mktemp)
trap 'rm -f "$arguments"' EXIT
cd "$1"
if [ "$(systemd-detect-virt || true)" = qemu ]; then
  # Emulated, it is run as make test-vm runs it, with time for a host that others work on too.
  .venv/bin/python -m tests.lab.vm.chosen --emulated >"$arguments"
  set -- -p tests.lab.vm.processes -p no:xdist --capture=sys
else
  .venv/bin/python -m tests.lab.vm.chosen >"$arguments"
  set --
fi
# A line for each test, since it takes long and vagrant shows whole lines.
NO_COLOR=1 .venv/bin/python -m pytest "$@" "@$arguments" -vv
echo "the core of the suite passed on $release"
