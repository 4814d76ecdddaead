"""The node's installer, killed at any instant: pods find a valid network, the next run converges.

While it works, somebody looks at the directory all the time, as a runtime does.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from interceptor.node.installation import Installation, Options
from interceptor.node.splice import SAVED
from interceptor.system.deadline import Deadline
from tests.lab import loader, network_files, stand_in

if TYPE_CHECKING:
    from pathlib import Path

_KILLS = 100
_LONGEST_S = 0.03
"""Of what is done between two kills; a busy machine takes longer for it, this test does not."""
_ENTRY = b'{"type":"interceptor-cni","interceptor":{"selector":["*"]}}'
_OTHER = b'{"type":"interceptor-cni","interceptor":{}}'

_INSTALL, _REINSTALL, _FAIL_CLOSED = (_ENTRY, False), (_OTHER, False), (_OTHER, True)
_UNINSTALL = None

_Step = tuple[bytes, bool] | None


class Story(NamedTuple):
    """What is done in turn, in a directory that begins with one file."""

    name: str
    file: str
    content: bytes
    steps: tuple[_Step, ...]

    def __str__(self) -> str:
        return self.name


_STORIES = (
    Story(
        "list",
        "10-calico.conflist",
        network_files.CALICO,
        (_INSTALL, _REINSTALL, _UNINSTALL, _FAIL_CLOSED, _INSTALL, _FAIL_CLOSED, _UNINSTALL),
    ),
    Story(
        "single",
        "100-crio-bridge.conf",
        network_files.BRIDGE,
        (_INSTALL, _UNINSTALL, _FAIL_CLOSED, _INSTALL, _UNINSTALL),
    ),
    Story(
        "never-without",
        "100-crio-bridge.json",
        network_files.BRIDGE,
        (_INSTALL, _FAIL_CLOSED, _REINSTALL, _FAIL_CLOSED),
    ),
)


class Node:
    """Directories of a node, and what is done to them."""

    def __init__(self, path: Path, story: Story) -> None:
        self.story = story
        self.conf, self.bin, self.ready = path / "net.d", path / "bin", path / "run/ready"
        for directory in (self.conf, self.bin):
            directory.mkdir()
        (self.conf / story.file).write_bytes(story.content)

    def do(self, step: _Step) -> bool:
        entry, fail_closed = step or (b"", False)
        options = Options(
            entry=entry,
            conf_dir=str(self.conf),
            bin_dir=str(self.bin),
            ready_file=str(self.ready),
            fail_closed=fail_closed,
        )
        installation = Installation(options, stand_in)
        if step is None:
            return installation.uninstall(Deadline(30))
        return installation.install(Deadline(30)).changed

    def start(self) -> int:
        """Do all steps again and again in a process of its own, and give its id."""
        child = os.fork()
        if child:
            return child
        try:
            while True:
                for step in self.story.steps:
                    self.do(step)
        finally:
            os._exit(1)

    def look(self) -> list[str]:
        """See that a pod could start now, and give the plugins that would be called."""
        while True:
            name, _ = loader.first(self.conf)
            before = _identity(self.conf / name)
            _, network = loader.first(self.conf)
            present = (self.bin / "interceptor-cni").exists()
            # Otherwise it may have been uninstalled and installed again meanwhile.
            if before and before == _identity(self.conf / name):
                types = [plugin["type"] for plugin in network["plugins"]]
                assert present or "interceptor-cni" not in types
                return types


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        return path.stat().st_ino, path.stat().st_ctime_ns
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("story", _STORIES, ids=str)
def test_a_pod_can_start_at_any_time_and_the_next_run_converges(
    tmp_path: Path, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A kill is no power cut, and disks have other things to do.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    dice = random.Random(story.name)
    node = Node(tmp_path, story)
    begun = time.monotonic()
    for step in story.steps:
        node.do(step)
    longest_s = min(1.2 * (time.monotonic() - begun), _LONGEST_S)
    always = None not in story.steps
    looks, unfinished = 0, 0
    for _ in range(_KILLS):
        child = node.start()
        end = time.monotonic() + dice.uniform(0, longest_s)
        try:
            while time.monotonic() < end:
                types = node.look()
                assert not always or types == ["bridge", "interceptor-cni"]
                looks += 1
        finally:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, "it ended by itself"
        types = node.look()
        assert not always or types[-1] == "interceptor-cni"
        step = dice.choice(story.steps)
        unfinished += node.do(step)
        assert not node.do(step), "a second run finds nothing to do"
        _is_as_wanted(node, step)
    assert looks > _KILLS
    assert unfinished > _KILLS // 4, "it was hardly ever in the middle of something"
    node.do(_UNINSTALL)
    _is_as_wanted(node, _UNINSTALL)


def _is_as_wanted(node: Node, step: _Step) -> None:
    names = set(os.listdir(node.conf))
    file, types = node.story.file, network_files.types(node.story.content)
    if step is None:
        assert names == {file}
        assert (node.conf / file).read_bytes() == node.story.content
        assert os.listdir(node.bin) == []
    elif step[1]:
        assert names == {"00-interceptor.conflist", file}
    else:
        stem = file.rpartition(".")[0]
        assert names == {f"{stem}.conflist", file + SAVED}
    assert node.look() == [*types, *(["interceptor-cni"] if step else [])]
    assert node.ready.exists() is bool(step and step[1])
