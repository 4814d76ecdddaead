"""read_file: only files, only so much, and never a wait for somebody who does not come."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from interceptor.cli.main import run
from interceptor.files import read_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(20)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_file(str(path), 6) == b"\xef\xbb\xbfabc"


def test_more_than_the_most_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match="it is larger than 2 bytes"):
        read_file(str(path), 2)


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="it is no regular file"):
        read_file("/dev/zero", 9, pipe_s=9.0)


@pytest.mark.parametrize("pipe_s", [None, 9.0])
def test_a_directory_is_refused(pipe_s: float | None, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_file(str(tmp_path), 9, pipe_s=pipe_s)


def test_a_pipe_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "f"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="it is no regular file"):
        read_file(str(path), 9)


@pytest.mark.parametrize(("content", "fits"), [(b"abc", True), (b"abcd", False)])
def test_a_pipe_will_do_if_asked_for(content: bytes, fits: bool, tmp_path: Path) -> None:
    path = tmp_path / "f"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    if fits:
        assert read_file(str(path), 3, pipe_s=9.0) == content
    else:
        with pytest.raises(ValueError, match="larger than 3"):
            read_file(str(path), 3, pipe_s=9.0)
    writer.join()


@pytest.mark.parametrize("starts", [False, True])
def test_a_pipe_without_end_is_waited_for_only_so_long(starts: bool, tmp_path: Path) -> None:
    path = tmp_path / "f"
    os.mkfifo(path)
    # Opened for both, which waits for nobody.
    writer = os.open(path, os.O_RDWR) if starts else None
    try:
        if writer is not None:
            os.write(writer, b"mode =")
        with pytest.raises(TimeoutError):
            read_file(str(path), 9, pipe_s=0.1)
    finally:
        if writer is not None:
            os.close(writer)


def test_settings_that_never_come_are_waited_for_only_so_long(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "f"
    os.mkfifo(path)
    assert run(["render", "--config", str(path), "--timeout", "0.1"]) == 1
    error = capsys.readouterr().err.splitlines()[0]
    assert error == f"error: {path}: no end of it within 0.1 seconds"


def test_a_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(OSError, match="No such device"):
            read_file(str(path), 9, pipe_s=9.0)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            read_file(str(tmp_path), 9)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("kind", ["fifo", "directory", "large"])
def test_a_sheet_that_is_no_small_file_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case _:
            path.write_bytes(b"#" * ((1 << 20) + 1))
    assert run(["render", "--sheet", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert f"error: {path}: the sheet cannot be read: " in lines[0]
    assert len(lines) == 2
