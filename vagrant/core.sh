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
.venv/bin/python -m tests.lab.vm.chosen >"$arguments"
# A line for each test, since it takes long and vagrant shows whole lines.
set -- "@$arguments" -vv
if [ "$(systemd-detect-virt || true)" = qemu ]; then
  # Emulated, a test takes ten to twenty times as long, and others may work on the host as well;
  # the limits of single commands do not bear four at a time on two processors.
  set -- "$@" -n 2 --timeout 900
  export COMMAND_TIMEOUT_S=90
fi
NO_COLOR=1 .venv/bin/python -m pytest "$@"
echo "the core of the suite passed on $release"
