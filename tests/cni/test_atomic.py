"""A file is there whole or not at all."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from interceptor.system import atomic

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file_has_its_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "one"
    before = os.umask(0o077)
    try:
        atomic.replace_file(str(path), b"content", mode=0o640)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["one"]


@pytest.mark.root
def test_the_owner_can_be_another(tmp_path: Path) -> None:
    path = tmp_path / "one"
    atomic.replace_file(str(path), b"", mode=0o600, owner=(1234, 5678))
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o600)


def test_a_failure_leaves_what_was_there_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"before")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        atomic.replace_file(str(path), b"after")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["one"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: write(fd, content[:3]))
    atomic.replace_file(str(tmp_path / "one"), b"0123456789")
    assert (tmp_path / "one").read_bytes() == b"0123456789"


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"before")
    (tmp_path / "link").symlink_to("target")
    atomic.replace_file(str(tmp_path / "link"), b"after")
    assert (tmp_path / "target").read_bytes() == b"before"
    assert not (tmp_path / "link").is_symlink()


def test_removing_says_whether_there_was_something(tmp_path: Path) -> None:
    path = str(tmp_path / "one")
    assert not atomic.remove_file(path)
    atomic.replace_file(path, b"")
    assert atomic.remove_file(path)
    assert not os.path.lexists(path)
    assert not atomic.remove_file(f"{path}/below")


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    for name in (".one.interceptor-0a1b2c.tmp", ".one.123.tmp", "one.tmp", "one"):
        (tmp_path / name).write_bytes(b"")
    assert atomic.remove_leftovers(str(tmp_path)) == 1
    assert sorted(os.listdir(tmp_path)) == [".one.123.tmp", "one", "one.tmp"]
