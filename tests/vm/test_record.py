"""What is kept of the runs, what is a fault, and the table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from interceptor.system.libbpf import KERNEL_NEEDED
from tests.lab.vm import chosen
from tests.lab.vm.machine import Finished, Lost
from tests.lab.vm.protocol import Outcome, Ran
from tests.lab.vm.record import (
    COLUMNS,
    EBPF_SINCE,
    REFUSAL,
    Cell,
    Row,
    backend,
    cells,
    faults,
    keep,
    read,
    row,
    runs_ebpf,
    table,
)

_OLD, _NEW = "5.10.0-32-cloud-amd64", "6.12.9+deb12-cloud-amd64"
_TOOLS = {"nft": "nftables v1.0.6"}


def ran(test: str, outcome: Outcome = "passed") -> Ran:
    return Ran(test, outcome, 1.0, "" if outcome == "passed" else "why")


_TESTS = (ran("t.py::test_a[nftables-4]"), ran("t.py::test_a[iptables-nft-4]"), ran(REFUSAL))


@pytest.mark.parametrize(
    ("test", "column"),
    [
        ("tests/netns/test_install.py::test_a[nftables]", "nftables"),
        ("tests/netns/test_install.py::test_a[iptables-nft-6]", "iptables-nft"),
        ("tests/netns/test_install.py::test_a[many-iptables-legacy]", "iptables-legacy"),
        ("tests/netns/test_install.py::test_a[nftables-iptables-nft]", "other"),
        ("tests/netns/test_install.py::test_a", "other"),
        ("tests/netns/test_packets.py::test_a[ebpf-4]", "ebpf"),
        ("tests/netns/test_ebpf_command.py::test_a", "ebpf"),
        ("tests/ebpf/test_fates.py::test_a[all DNS]", "ebpf"),
    ],
)
def test_a_test_is_of_a_backend(test: str, column: str) -> None:
    assert backend(test) == column


@pytest.mark.parametrize(
    ("release", "able"),
    [(_OLD, False), ("5.15.0-1-amd64", True), ("5.9", False), (_NEW, True), ("10.0-rc1", True)],
)
def test_which_kernels_have_programs_at_sockets(release: str, *, able: bool) -> None:
    assert runs_ebpf(release) == able


def test_the_kernel_that_is_needed_is_the_programs_own() -> None:
    assert ".".join(map(str, EBPF_SINCE)) == KERNEL_NEEDED


def test_a_refusal_counts_as_such_on_an_old_kernel_alone() -> None:
    assert cells(_OLD, _TESTS)["ebpf"] == Cell(refused=True)
    assert cells(_NEW, _TESTS)["ebpf"] == Cell(passed=1)
    failed = (ran(REFUSAL, "failed"),)
    assert cells(_OLD, failed)["ebpf"] == Cell(failed=1)


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Lost("it died"), ["6.1: the machine is lost: it died"]),
        (Finished(_NEW, _TOOLS, _TESTS, 0), []),
        (Finished(_OLD, _TOOLS, _TESTS, 0), []),
        (Finished(_NEW, _TOOLS, _TESTS, 3), ["6.1: pytest ended with 3"]),
        (
            Finished(_NEW, _TOOLS, (ran("t.py::test_a", "failed"),), 1),
            ["6.1: t.py::test_a failed\nwhy"],
        ),
        (
            Finished(_NEW, _TOOLS, (ran("t.py::test_a", "skipped"),), 0),
            ["6.1: t.py::test_a skipped\nwhy"],
        ),
        (
            Finished(_OLD, _TOOLS, (ran("t.py::test_a"),), 0),
            ["6.1: whether eBPF is refused as documented was not tested"],
        ),
    ],
    ids=["lost", "well", "old", "status", "failed", "skipped", "refusal-untested"],
)
def test_what_is_a_fault(verdict: Finished | Lost, says: list[str]) -> None:
    assert faults("6.1", verdict) == says


def test_rows_replace_those_of_the_same_kernel_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = row("6.12", "6.12.9-1", "2026-01-01", 61.4, Finished(_NEW, _TOOLS, _TESTS, 0))
    old = row("5.10", "5.10.1-1", "2026-01-02", 50, Finished(_OLD, _TOOLS, _TESTS, 0))
    again = row("6.12", "6.12.9-1", "2026-01-03", 62, Finished(_NEW, _TOOLS, _TESTS, 0))
    for rows in ([first], [old], [again]):
        keep(rows, path)
    assert read(path) == [old, again]


def test_the_table() -> None:
    tests = (*_TESTS, ran("t.py::test_b[nftables]", "failed"))
    rows: list[Row] = [
        row("5.10", "5.10.1-1", "2026-01-01", 50.2, Finished(_OLD, _TOOLS, _TESTS, 0)),
        row("6.12", "6.12.9-1", "2026-01-02", 61.7, Finished(_NEW, _TOOLS, tests, 1)),
    ]
    head, _, old, new, gap, tools = table(rows).splitlines()
    assert head == (
        "| kernel | nftables | iptables-nft | iptables-legacy | eBPF | no one backend "
        "| took | on |"
    )
    assert old == (
        f"| {_OLD} (5.10.1-1) | 1 passed | 1 passed | not run | refused, as documented | not run "
        "| 50 s | 2026-01-01 |"
    )
    assert new == (
        f"| {_NEW} (6.12.9-1) | **1 failed**, 1 passed | 1 passed | not run | 1 passed | not run "
        "| 62 s | 2026-01-02 |"
    )
    assert (gap, tools) == ("", "Tools: nftables v1.0.6.")


def test_without_a_run_the_table_says_so() -> None:
    assert table(()) == "No run is on record."


def test_every_chosen_test_is_there() -> None:
    """A test that has another name now must not go missing in silence."""
    chosen.compile_here()


def test_each_backend_and_the_refusal_are_chosen() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *chosen.ids(at_sockets=True)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    names = [line for line in done.stdout.splitlines() if "::" in line]
    counted = cells(_NEW, map(ran, names))
    assert min(counted[column].passed for column in COLUMNS if column != "other") >= 8
    assert counted["other"].passed >= 5
    assert cells(_OLD, map(ran, names))["ebpf"].refused


def test_an_old_kernel_is_not_asked_for_what_it_lacks() -> None:
    old, new = (chosen.arguments(release, everything=False) for release in (_OLD, _NEW))
    assert "not ebpf" in " ".join(old)
    assert "not ebpf" not in " ".join(new)
    assert any("tests/ebpf/" in word for word in new)
    assert not any("tests/ebpf/" in word for word in old)


def test_only_in_the_core_commands_are_forks() -> None:
    core, whole = (chosen.arguments(_NEW, everything=all_of_them) for all_of_them in (False, True))
    assert "--forked" in core
    assert "--forked" not in whole
