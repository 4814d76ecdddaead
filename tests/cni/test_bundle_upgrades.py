"""A bundle is there whole or not at all, whatever happens to who lays it down."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.node.bundle import (
    contents,
    home,
    inspect,
    lay,
    python,
    remove,
)
from interceptor.node.bundle.piece import Kind, Piece
from interceptor.system.deadline import Deadline
from tests.lab.bundle import Bundle, answers
from tests.lab.plugin import Network
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def gathered() -> tuple[contents.Contents, contents.Contents]:
    """What is in the bundle, and in one of another version."""
    now = contents.gather(Deadline(60), kubernetes=False)
    with pytest.MonkeyPatch.context() as patch:
        other(patch)
        return now, contents.gather(Deadline(60), kubernetes=False)


def other(patch: pytest.MonkeyPatch) -> None:
    """Have another bundle laid."""
    pieces = python.pieces

    def more(*, kubernetes: bool) -> Iterator[Piece]:
        yield from pieces(kubernetes=kubernetes)
        yield Piece("lib/more", Kind.FILE, content=b"of another version")

    patch.setattr(python, "pieces", more)


def test_no_call_fails_while_versions_are_replaced(
    own: Bundle,
    gathered: tuple[contents.Contents, contents.Contents],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    over = threading.Event()

    def calls() -> None:
        while not over.is_set():
            said.append(own.version())

    callers = [threading.Thread(target=calls) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for number in range(8):
            chosen = gathered[1 - number % 2]
            monkeypatch.setattr(home, "gather", lambda *_, c=chosen, **__: c)
            lay(str(own.directory), Deadline(60))
    finally:
        over.set()
        for caller in callers:
            caller.join()
    assert len(said) > 20
    assert set(said) == {own.version()}
    lay(str(own.directory), Deadline(60))
    assert len(os.listdir(own.home)) == 1


def test_a_launcher_that_is_replaced_as_it_starts_becomes_its_successor(
    own: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own.tree
    with Path(own.plugin).open("rb") as old:
        other(monkeypatch)
        assert lay(str(own.directory), Deadline(60))
        assert not before.exists()
        done = subprocess.run(
            [own.plugin],
            executable=f"/proc/self/fd/{old.fileno()}",
            pass_fds=[old.fileno()],
            env={"CNI_COMMAND": "VERSION"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert f"{done.returncode} {done.stdout}{done.stderr}" == own.version()
    assert answers(own)


def test_a_tree_that_runs_is_removed_later(
    own: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = own.tree
    with begun(own) as call_under_way:
        assert becomes(lambda: holders(before))
        with monkeypatch.context() as patch:
            other(patch)
            assert lay(str(own.directory), Deadline(60))
            assert own.tree != before
            assert before.is_dir()
            # All that it imports from here on it imports from the tree it was started from.
            said = call_under_way.communicate(ending(tmp_path))
            assert call_under_way.returncode == 0, said
            assert not lay(str(own.directory), Deadline(60))
            assert not before.exists()


def begun(bundle: Bundle) -> subprocess.Popen[str]:
    """Begin a call that waits for its configuration."""
    return subprocess.Popen(
        [bundle.plugin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"CNI_COMMAND": "GC", "CNI_PATH": "/opt/cni/bin"},
    )


def ending(directory: Path) -> str:
    """Give what such a call waits for."""
    valid: dict[str, Any] = {"cni.dev/valid-attachments": []}
    return Network(directory / "state", version="1.1.0").text(**valid)


def holders(tree: Path) -> bool:
    """Whether somebody holds a tree, as /proc/locks has it."""
    inode = tree.stat().st_ino
    return any(line.split()[5].endswith(f":{inode}") for line in _locks())


def _locks() -> list[str]:
    return [line for line in Path("/proc/locks").read_text().splitlines() if "FLOCK" in line]


def test_killed_at_any_moment_it_is_absent_or_runs(
    tmp_path: Path,
    gathered: tuple[contents.Contents, contents.Contents],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(30)
    made = Bundle(tmp_path / "bin")
    chosen = [gathered[0]]
    monkeypatch.setattr(home, "gather", lambda *_, **__: chosen[0])
    began = time.monotonic()
    lay(str(made.directory), Deadline(60))
    whole_s = time.monotonic() - began
    for number in range(30):
        if number % 10 == 0:
            remove(str(made.directory))
        if number % 10 == 4:
            lay(str(made.directory), Deadline(60))
        chosen[0] = gathered[1 - number % 2]
        child = os.fork()
        if child == 0:
            try:
                lay(str(made.directory), Deadline(60))
            finally:
                os._exit(0)
        time.sleep(dice.uniform(0, whole_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        there = Path(made.plugin).exists()
        assert there or number % 10 < 4
        assert not there or answers(made)
    lay(str(made.directory), Deadline(60))
    assert inspect(str(made.directory)).intact
    assert os.listdir(made.home) == [chosen[0].digest]


def test_two_who_lay_it_at_once_wait_for_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gathered: tuple[contents.Contents, ...]
) -> None:
    monkeypatch.setattr(home, "gather", lambda *_, **__: gathered[0])
    made = Bundle(tmp_path / "bin")
    did: list[bool] = []
    threads = [
        threading.Thread(target=lambda: did.append(lay(str(made.directory), Deadline(60))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(did) == [False, False, True]
    assert answers(made)


def test_removal_leaves_nothing(own: Bundle) -> None:
    (own.directory / "bridge").write_text("somebody else's")
    assert remove(str(own.directory))
    assert os.listdir(own.directory) == ["bridge"]
    assert not remove(str(own.directory))
    assert not remove(str(own.directory / "never-was"))


def test_removal_waits_for_calls_under_way(own: Bundle, tmp_path: Path) -> None:
    with begun(own) as call_under_way:
        tree = own.tree
        assert becomes(lambda: holders(tree))
        remover = threading.Thread(target=remove, args=(str(own.directory),))
        remover.start()
        assert becomes(lambda: not Path(own.plugin).exists())
        said = call_under_way.communicate(ending(tmp_path))
        assert call_under_way.returncode == 0, said
        remover.join()
    assert os.listdir(own.directory) == []
