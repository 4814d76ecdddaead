"""A machine is judged by what it said: stand-ins for QEMU that die, hang and say nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lab.vm.machine import CX16_SINCE, Finished, Limits, Lost, Verdict, qemu, run
from tests.lab.vm.protocol import Begun, Collected, Ended, Message, Ran, decode, encode
from tests.lab.vm.record import version

if TYPE_CHECKING:
    from pathlib import Path

_BEGUN = Begun("6.1.0-9-amd64", {"nft": "nftables v1.0.6"})
_GOOD = Ran("tests/a.py::test_a[nftables]", "passed", 0.5)
_BAD = Ran("tests/a.py::test_a[nftables]", "failed", 0.5, "AssertionError")
_OTHER = Ran("tests/a.py::test_b", "passed", 0.5)
_QUICK = Limits(first_s=6, silence_s=3, all_s=60)

_SAY = """
printf %s "$3" >>"$1"
[ "$2" = hang ] || exit "$2"
echo $$
exec sleep 600
"""


def stand_in(report: Path, text: str, then: str = "0", limits: Limits = _QUICK) -> Verdict:
    """Run a process that says this and then ends, or does not."""
    argv = ["/bin/sh", "-c", _SAY, "sh", str(report), then, text]
    return run(argv, report, limits, lambda _: None).verdict


def lines(*messages: Message) -> str:
    return b"".join(map(encode, messages)).decode()


def test_all_is_well(tmp_path: Path) -> None:
    said = lines(_BEGUN, Collected(2), _GOOD, _OTHER, Ended(0))
    verdict = stand_in(tmp_path / "report", said)
    assert verdict == Finished("6.1.0-9-amd64", {"nft": "nftables v1.0.6"}, (_GOOD, _OTHER), 0)


@pytest.mark.parametrize(
    ("said", "then", "why"),
    [
        ("", "0", "it ended with 0 and never spoke"),
        ("", "1", "it ended with 1 and never spoke"),
        (lines(_BEGUN), "0", "it ended with 0 after 0 of 0 tests"),
        (lines(_BEGUN, Collected(2), _GOOD), "0", "it ended with 0 after 1 of 2 tests"),
        (lines(_BEGUN, Collected(2), _GOOD, Ended(0)), "0", "1 tests ran and 2 were meant to"),
        (lines(_BEGUN, Collected(0), Ended(0)), "0", "0 tests ran and 0 were meant to"),
        (lines(_BEGUN, Ended(4)), "0", "0 tests ran and 0 were meant to"),
        (lines(_BEGUN, Collected(1), _GOOD) + '{"type":"En', "0", "after 1 of 1 tests"),
        ("panic\n", "hang", "not a line of the protocol"),
        ("", "hang", "it said nothing for 6 s"),
        (lines(_BEGUN, Collected(2), _GOOD), "hang", "it hangs: nothing new for 3 s"),
    ],
    ids=[
        *("silent", "dead", "dies-early", "dies-midway", "too-few", "none", "refused-to-run"),
        *("cut-short", "nonsense", "hangs-silently", "hangs-midway"),
    ],
)
def test_whatever_else_happens_it_is_lost(tmp_path: Path, said: str, then: str, why: str) -> None:
    verdict = stand_in(tmp_path / "report", said, then)
    assert isinstance(verdict, Lost)
    assert why in verdict.why


def test_who_goes_on_for_ever_is_stopped(tmp_path: Path) -> None:
    limits = Limits(first_s=60, silence_s=60, all_s=6)
    verdict = stand_in(tmp_path / "report", lines(_BEGUN, Collected(9), _GOOD), "hang", limits)
    assert verdict == Lost("it took more than 6 s", (_GOOD,))


def test_who_hangs_is_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(tmp_path / "report", "", "hang")
    process = int(capfd.readouterr().out)
    assert not os.path.exists(f"/proc/{process}")


@pytest.mark.parametrize("then", ["exit", "hang"])
def test_what_it_took_of_processors_is_known(tmp_path: Path, then: str) -> None:
    busy = f"""
    head -c 300000000 /dev/zero | cat >/dev/null
    i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done
    [ {then} = exit ] || exec sleep 600
    """
    done = run(["/bin/sh", "-c", busy], tmp_path / "report", _QUICK, lambda _: None)
    assert 0.05 < done.processor_s < 60


def test_newer_kernels_check_their_memory(tmp_path: Path) -> None:
    def words(release: str) -> str:
        is_new = version(release) >= CX16_SINCE
        *_, last = qemu(tmp_path, tmp_path, tmp_path, tmp_path, 2, checks_memory=is_new)
        return last

    assert "slab_debug" not in words("6.12.107+deb13-cloud-amd64")
    assert "slab_debug=F,kmalloc-*" in words("6.18.1-cloud-amd64")
    assert "slab_debug=F,kmalloc-*" in words("7.3.4+deb13-cloud-amd64")


def test_what_an_earlier_run_said_does_not_count(tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.write_text(lines(_BEGUN, Collected(1), _GOOD, Ended(0)))
    assert isinstance(stand_in(report, ""), Lost)


@pytest.mark.parametrize("order", [(_GOOD, _BAD), (_BAD, _GOOD)], ids=["teardown", "again"])
def test_a_test_that_failed_once_has_failed(tmp_path: Path, order: tuple[Ran, ...]) -> None:
    verdict = stand_in(tmp_path / "report", lines(_BEGUN, Collected(1), *order, Ended(1)))
    assert isinstance(verdict, Finished)
    assert verdict.tests == (_BAD,)


def test_a_line_that_has_not_ended_is_not_read_yet() -> None:
    whole = encode(_BEGUN) + encode(_GOOD)
    assert decode(whole[:-1]) == (_BEGUN,)
    assert decode(whole.replace(b"\n", b"\r\n")) == (_BEGUN, _GOOD)
