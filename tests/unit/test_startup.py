"""Start-up time is a feature: what commands import and how many processes they start is bounded.

Budgets are counts, never seconds; ``make bench`` has the seconds.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.paths import IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES, PROGRAM, RulePath

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

_HEAVY = {"pyroute2", "rich", "scapy", "iptc", "bcc", "yaml", "dataclasses", "json", "pathlib"}

_REPORT = """
import sys
from interceptor.cli.main import run
code = run({argv!r})
print("CODE", code, file=sys.stderr)
print("MODULES", *sorted(sys.modules), file=sys.stderr)
"""


def modules_of(*argv: str) -> set[str]:
    """Run a command and give the modules it left loaded."""
    done = subprocess.run(
        [sys.executable, "-c", _REPORT.format(argv=list(argv))],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = {line.split(" ", 1)[0]: line for line in done.stderr.splitlines()}
    assert lines["CODE"] == "CODE 0", done
    return set(lines["MODULES"].split()[1:])


@pytest.mark.parametrize(
    ("argv", "most"),
    [(["--version"], 15), (["render"], 40), (["config", "show"], 35)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_pure_commands_import_little(argv: list[str], most: int) -> None:
    loaded = modules_of(*argv)
    assert not loaded & _HEAVY
    assert "interceptor.backends.nftables" not in loaded
    assert len([name for name in loaded if name.startswith("interceptor")]) <= most


@pytest.mark.root
@pytest.mark.parametrize("path", [NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_install_imports_only_its_backend(pod: Pod, path: RulePath) -> None:
    loaded = modules_of("install", "--netns", pod.pod.path, *path.flags)
    assert not loaded & _HEAVY
    assert "interceptor.backends.failures" not in loaded
    assert "interceptor.verify.run" not in loaded
    if path is NFTABLES:
        assert "interceptor.backends.iptables" not in loaded
    assert len([name for name in loaded if name.startswith("interceptor")]) <= 55


_PROCESSES = {
    # One look, one transaction.
    NFTABLES: (["nft", "nft"], ["nft"]),
    # One look for everything, a save and a restore for each family.
    IPTABLES_NFT: (
        [
            "nft",
            "iptables-nft-save",
            "ip6tables-nft-save",
            "iptables-nft-restore",
            "ip6tables-nft-restore",
        ],
        ["nft", "iptables-nft-save", "ip6tables-nft-save"],
    ),
    # A namespace without legacy tables is not asked for its legacy rules.
    IPTABLES_LEGACY: (
        ["nft", "iptables-legacy-restore", "ip6tables-legacy-restore"],
        ["nft", "iptables-legacy-save", "ip6tables-legacy-save"],
    ),
}


@pytest.mark.root
@pytest.mark.parametrize("path", _PROCESSES, ids=str)
def test_install_starts_few_processes(pod: Pod, path: RulePath, tmp_path: Path) -> None:
    first, again = _PROCESSES[path]
    assert _started(pod, path, tmp_path) == first
    assert _started(pod, path, tmp_path) == again


def _started(pod: Pod, path: RulePath, directory: Path) -> list[str]:
    """Install with tools that leave their name in a file."""
    log = directory / "log"
    log.write_text("")
    for tool in {tool for pair in _PROCESSES.values() for tools in pair for tool in tools}:
        shim = directory / tool
        shim.write_text(f'#!/bin/sh\necho {tool} >> {log}\nexec /usr/sbin/{tool} "$@"\n')
        shim.chmod(0o755)
    subprocess.run(
        [PROGRAM, "install", "--netns", pod.pod.path, *path.flags],
        env={"PATH": f"{directory}:/usr/sbin:/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return log.read_text().split()
