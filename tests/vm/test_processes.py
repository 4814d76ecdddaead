"""Tests run in forks of the process that collected them are told as if it had run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.vm.protocol import Begun, Collected, Ended, Ran, decode

if TYPE_CHECKING:
    from tests.lab.vm.protocol import Message

_PROJECT = Path(__file__).parent.parent.parent
_PLUGINS = ("-p", "tests.lab.vm.report", "-p", "tests.lab.vm.processes")
_BAD = """
import pytest
@pytest.fixture
def bad():
    yield
    raise OSError("late")
def test_it(bad): pass
"""
_GOOD = """
import os, time
import pytest

@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = tmp_path_factory.mktemp("place")
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(f"begun {os.getpid()}\\n")
    yield made
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(f"ended {os.getpid()}\\n")

@pytest.mark.parametrize("number", range(20))
def test_it(place, number):
    time.sleep(0.05)
    print("what is captured", os.getpid())
"""


def run(
    directory: Path, text: str, *options: str, processes: int = 3
) -> tuple[int, str, tuple[Message, ...]]:
    """Run a file of tests, and give the exit code, what was printed and what was said."""
    (directory / "test_made.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")
    report = directory / "report"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *_PLUGINS, "--capture=sys"),
            *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:xdist.looponfail"),
            *("--processes", str(processes), "-c", str(directory / "pytest.ini"), *options),
            *("--rootdir", str(directory), str(directory)),
        ],
        cwd=_PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "VM_REPORT": str(report), "SEEN": str(directory / "seen")},
    )
    return done.returncode, done.stdout + done.stderr, decode(report.read_bytes())


def ran(said: tuple[Message, ...]) -> list[Ran]:
    return [one for one in said if isinstance(one, Ran)]


def test_each_test_runs_once_in_some_process(tmp_path: Path) -> None:
    code, printed, said = run(tmp_path, _GOOD)
    assert code == 0, printed
    assert isinstance(said[0], Begun)
    assert said[1] == Collected(20)
    assert said[-1] == Ended(0)
    assert sorted(int(re.findall(r"\d+", one.test)[-1]) for one in ran(said)) == [*range(20)]
    assert {one.outcome for one in ran(said)} == {"passed"}
    assert "20 passed" in printed
    seen = (tmp_path / "seen").read_text().split()
    assert seen.count("begun") == seen.count("ended") == len(set(seen) - {"begun", "ended"}) == 3


def test_without_the_option_pytest_runs_them_itself(tmp_path: Path) -> None:
    code, _, said = run(tmp_path, _GOOD, processes=0)
    assert (code, len(ran(said)), len((tmp_path / "seen").read_text().split())) == (0, 20, 4)


@pytest.mark.parametrize(
    ("text", "option", "outcome", "why"),
    [
        ("def test_it(): assert [1, 2] == [1, 3]", "-q", "failed", "At index 1 diff"),
        ("def test_it(): import time; time.sleep(60)", "--timeout=1", "failed", "Timeout"),
        ("import pytest\ndef test_it(): pytest.skip('no')", "-q", "skipped", "no"),
        (
            _BAD,
            "-q",
            "failed",
            "late",
        ),
    ],
    ids=["failed", "hangs", "skipped", "teardown"],
)
def test_what_goes_wrong_is_told(
    tmp_path: Path, text: str, option: str, outcome: str, why: str
) -> None:
    code, printed, said = run(tmp_path, text, option)
    assert ran(said)[-1].outcome == outcome, printed
    assert why in ran(said)[-1].why
    assert code == (0 if outcome == "skipped" else 1)
    assert said[-1] == Ended(code)


def test_a_process_that_dies_is_not_taken_for_success(tmp_path: Path) -> None:
    text = f"{_GOOD}\ndef test_that_dies(): os._exit(0)\n"
    code, printed, said = run(tmp_path, text)
    assert Collected(21) in said
    assert len(ran(said)) < 21
    assert not any("test_that_dies" in one.test for one in ran(said))
    assert "test_that_dies" in printed
    assert code == 1


def test_with_forked_commands_there_is_a_server_and_then_none(tmp_path: Path) -> None:
    text = """
import os
from tests.lab.paths import interceptor
def test_it():
    assert interceptor("--version").stdout.startswith("interceptor ")
    with open(os.environ["SEEN"], "w") as seen:
        seen.write(os.environ["FORKSERVER"])
"""
    code, printed, _ = run(tmp_path, text, "--forked")
    assert code == 0, printed
    assert not Path((tmp_path / "seen").read_text()).exists()


@pytest.mark.parametrize("how", [(), ("--forked",)], ids=["executed", "forked"])
def test_commands_may_take_longer_where_all_does(tmp_path: Path, how: tuple[str, ...]) -> None:
    text = """
from tests.lab.paths import interceptor
def test_it():
    assert interceptor("config", "show", "--output", "json").json["timeout"]["value"] == "77"
    shown = interceptor("config", "show", "--output", "json", "--timeout", "5")
    assert shown.json["timeout"]["value"] == "5"
"""
    code, printed, _ = run(tmp_path, text, "--command-timeout", "77", *how)
    assert code == 0, printed
