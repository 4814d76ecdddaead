"""``make test-vm``: run the tests on other kernels, each in a machine of its own.

::

    python -m tests.lab.vm --cache .cache/vm [--jobs N] [--patience F] [--all] 5.10 6.1 6.12
"""

from __future__ import annotations

import argparse
import datetime as dt
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.vm import chosen, image, machine, record
from tests.lab.vm.protocol import Begun, Collected, Message, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIMITS = machine.Limits()
_ALL_LIMITS = machine.Limits(all_s=4 * 3600, silence_s=600)
_MEMORY_MB = 4096
"""What a machine and the file it boots from take of this one."""
_EVERY_S = 5


def _jobs() -> int:
    """Give how many machines this one bears.

    Three for two processors: while a machine boots or collects it uses one, and not all of that.
    """
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") // 1_000_000
    return max(1, min((os.cpu_count() or 1) * 3 // 2, memory_mb // _MEMORY_MB))


class Teller:
    """Prints a line when a machine begins, and then every few seconds how far it is."""

    def __init__(self, kernel: str) -> None:
        self._kernel = kernel
        self._begun = time.monotonic()
        self._next = 0.0

    def __call__(self, said: tuple[Message, ...]) -> None:
        now = time.monotonic() - self._begun
        newest = said[-1]
        if isinstance(newest, Ran) and newest.outcome == "passed" and now < self._next:
            return
        self._next = now + _EVERY_S
        ran = [message for message in said if isinstance(message, Ran)]
        failed = sum(one.outcome != "passed" for one in ran)
        wanted = [message.tests for message in said if isinstance(message, Collected)]
        begun = [message.release for message in said if isinstance(message, Begun)]
        of = f" of {wanted[0]}" if wanted else ""
        print(
            f"{self._kernel}: {begun[0] if begun else '?'}, {len(ran)}{of} tests, "
            f"{failed} failed, {now:.0f} s",
            flush=True,
        )


def _one(
    kernel: image.Kernel, layers: list[Path], cache: Path, given: argparse.Namespace
) -> tuple[image.Kernel, machine.Run, float]:
    """Run one machine, and give how many seconds it took."""
    report, console = cache / f"{kernel.name}.report", cache / f"{kernel.name}.log"
    tests = chosen.arguments(
        kernel.release, everything=given.all, only=given.tests, patience=given.patience
    )
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=cache) as work:
        boots = Path(work, "initrd")
        asked = image.asked(Path(work), tests)
        image.join([layers[0], kernel.modules, *layers[1:], asked], boots)
        argv = machine.qemu(
            kernel.vmlinuz,
            boots,
            console,
            report,
            given.processors,
            checks_memory=record.version(kernel.release) >= machine.CX16_SINCE,
        )
        limits = (_ALL_LIMITS if given.all else _LIMITS).times(given.patience)
        tell: Callable[[tuple[Message, ...]], None] = Teller(kernel.name)
        run = machine.run(argv, report, limits, tell)
    seconds = time.monotonic() - begun
    print(f"{kernel.name}: {seconds:.0f} s, {run.processor_s:.0f} s of processors", flush=True)
    return kernel, run, seconds


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.vm", description=__doc__)
    parser.add_argument("kernels", nargs="+", help="as 6.1, or newest")
    parser.add_argument("--cache", type=Path, required=True, help="where things are kept")
    parser.add_argument("--jobs", type=int, default=0, help="machines at once; 0: what fits")
    parser.add_argument("--processors", type=int, default=2, help="of each machine")
    parser.add_argument("--patience", type=float, default=1, help="times the usual limits")
    parser.add_argument("--all", action="store_true", help="not only the chosen tests")
    parser.add_argument("--tests", nargs="*", default=[], help="these instead; not recorded")
    return parser.parse_args()


def main() -> int:
    """Run them, print the table, and give 1 if anything is wrong."""
    given = _given()
    cache: Path = given.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache):
        return _run(given, cache)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Have the cache for this run: consoles and reports are there, by their kernels' names."""
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run in {cache}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(given: argparse.Namespace, cache: Path) -> int:
    begun = time.monotonic()
    try:
        kernels = [image.fetch(cache, name) for name in given.kernels]
        chosen.compile_here(only=given.tests)
        layers = [image.base(cache), image.project(cache)]
    except subprocess.CalledProcessError as error:
        print(f"nothing to boot: {error.cmd[0]} failed", file=sys.stderr)
        return 1
    today = dt.datetime.now(dt.UTC).date().isoformat()
    rows, wrong = [], []
    with ThreadPoolExecutor(given.jobs or _jobs()) as pool:
        for kernel, run, seconds in pool.map(
            lambda kernel: _one(kernel, layers, cache, given), kernels
        ):
            verdict = run.verdict
            wrong += record.faults(kernel.name, verdict)
            if isinstance(verdict, machine.Finished):
                rows.append(record.row(kernel.name, kernel.package, today, seconds, verdict))
    print(f"\n{record.table(rows)}\n")
    print(f"what each machine said: {cache}/*.log; results: {cache}/*.report")
    if rows and not given.all and not given.tests:
        record.keep(rows)
        print(f"kept in {record.RESULTS}; make format takes the table to the README")
    for fault in wrong:
        print(f"\n{fault}", file=sys.stderr)
    spent = os.times()
    taken = spent.user + spent.system + spent.children_user + spent.children_system
    print(f"in all: {time.monotonic() - begun:.0f} s, {taken:.0f} s of processors", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
