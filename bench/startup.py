"""What a start costs before any work is done, and where the time goes."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import NamedTuple

from bench.timing import Contender, command, race, show
from tests.lab.paths import PROGRAM


def bench(rounds: int) -> None:
    """Print start-up times beside a bare Python."""
    python = sys.executable
    times = race(
        [
            Contender("bare python", command(python, "-c", "pass")),
            Contender("python, import click", command(python, "-c", "import click")),
            Contender("interceptor --version", command(PROGRAM, "--version")),
            Contender("interceptor render", command(PROGRAM, "render")),
        ],
        rounds,
    )
    show("start-up", times, beside="bare python")


class _Import(NamedTuple):
    name: str
    own_us: int


def bench_imports() -> None:
    """Print which packages an installation's imports spend their time in."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", _INSTALL_IMPORTS],
        capture_output=True,
        text=True,
        check=True,
    )
    found = [
        _Import(match[2], int(match[1]))
        for match in re.finditer(r"import time:\s+(\d+) \|\s+\d+ \| \s*(\S+)", done.stderr)
    ]
    groups: dict[str, int] = {}
    for one in found:
        root = one.name.split(".")[0]
        group = root if root in ("click", "msgspec", "interceptor") else "standard library"
        groups[group] = groups.get(group, 0) + one.own_us
    print("\nimports of an installation on nftables, by own time (with importtime's overhead)")
    for name, own_us in sorted(groups.items(), key=lambda pair: -pair[1]):
        print(f"  {name:18}  {own_us / 1000:6.1f} ms")
    slowest = sorted(found, key=lambda one: -one.own_us)[:8]
    print("  slowest:", ", ".join(f"{one.name} {one.own_us / 1000:.1f}" for one in slowest))


_INSTALL_IMPORTS = """
import gc; gc.disable()
import interceptor.cli.main, interceptor.cli.install_command
import interceptor.operations.site, interceptor.backends.nftables
import interceptor.system.netns, interceptor.system.lock
"""
