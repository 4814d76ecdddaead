"""The line each call leaves, and the file that does not grow."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.lab.plugin import Network

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


def test_a_call_is_one_line_on_stderr_and_in_the_file(pod: Pod, tmp_path: Path) -> None:
    file = tmp_path / "cni.log"
    network = Network(tmp_path / "state", log_file=str(file))
    added = network.add(pod.pod.path)
    assert json.loads(file.read_text()) == added.log
    assert {key: added.log[key] for key in ("verb", "container", "namespace", "pod", "uid")} == {
        "verb": "ADD",
        "container": "c1",
        "namespace": "shop",
        "pod": "cart",
        "uid": "u-1",
    }
    assert added.log["ms"] > 0
    refused = network.call("ADD", "/nowhere")
    assert json.loads(file.read_text().splitlines()[1]) == refused.log
    assert refused.log["code"] == refused.error["code"] == 8


def test_the_file_stays_small_and_no_line_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "cni.log"
    most = 1000
    network = Network(tmp_path / "state", log_file=str(file), log_max_bytes=most)
    with ThreadPoolExecutor(4) as at_once:
        list(at_once.map(lambda n: network.call("DEL", container=f"c{n}"), range(8)))
    kept = [file, tmp_path / "cni.log.1"]
    assert all(0 < path.stat().st_size <= most for path in kept)
    lines = [json.loads(line) for path in kept for line in path.read_text().splitlines()]
    assert sorted(line["container"] for line in lines) == [f"c{n}" for n in range(8)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cni.log", "cni.log.1"]


def test_a_log_that_cannot_be_written_fails_no_pod(pod: Pod, tmp_path: Path) -> None:
    network = Network(tmp_path / "state", log_file="/proc/nowhere/cni.log")
    answer = network.call("ADD", pod.pod.path)
    assert answer.status == 0
    assert json.loads(answer.stderr.splitlines()[1])["log_file"] == "/proc/nowhere/cni.log"
