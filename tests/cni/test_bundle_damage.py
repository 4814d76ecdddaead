"""What happens to a bundle's files is seen, told by its launcher, and mended."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.node.bundle import (
    inspect,
    launcher,
    lay,
)
from interceptor.system.deadline import Deadline
from tests.lab.bundle import Bundle, answers
from tests.lab.plugin import call

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.root


def flip(tree: Path) -> None:
    path = tree / "lib/libc.so.6"
    content = bytearray(path.read_bytes())
    content[4096] ^= 1
    path.write_bytes(content)


def lose(tree: Path) -> None:
    (tree / "lib/python3.11/os.pyc").unlink()


def lose_directory(tree: Path) -> None:
    shutil.rmtree(tree / "sbin")


def add(tree: Path) -> None:
    (tree / "lib/python3.11/msgspec.py").write_text("raise SystemExit")


def forbid(tree: Path) -> None:
    (tree / "bin/python3").chmod(0o600)


def link(tree: Path) -> None:
    shutil.move(tree / "libexec", tree / "elsewhere")
    (tree / "libexec").symlink_to("elsewhere")


def block(tree: Path) -> None:
    (tree / "lib/libm.so.6").unlink()
    (tree / "lib/libm.so.6").mkdir()
    (tree / "lib/libm.so.6/full").write_text("")


def cut(tree: Path) -> None:
    path = tree / "manifest"
    path.write_bytes(path.read_bytes()[:5000])


_DAMAGES = (flip, lose, lose_directory, add, forbid, link, block, cut)


def test_every_damage_is_seen_and_all_are_mended(own: Bundle, bundle: Bundle) -> None:
    tree = own.tree
    for damage in _DAMAGES:
        damage(tree)
        laid = inspect(str(own.directory))
        assert (laid.present, laid.digest, laid.intact) == (True, tree.name, False), damage
        if damage is not _DAMAGES[-1]:
            shutil.rmtree(tree)
            shutil.copytree(bundle.tree, tree)
            assert inspect(str(own.directory)).intact
    for damage in _DAMAGES[:-1]:
        damage(tree)
    sound = (tree / "lib/libz.so.1").stat().st_ino
    assert lay(str(own.directory), Deadline(60))
    assert inspect(str(own.directory)).intact
    assert answers(own)
    assert (tree / "lib/libz.so.1").stat().st_ino == sound
    assert os.listdir(own.home) == [tree.name]


def test_a_damaged_launcher_is_replaced(own: Bundle) -> None:
    path = Path(own.plugin)
    damages: tuple[Callable[[], object], ...] = (
        lambda: path.write_bytes(path.read_bytes()[:-40]),
        lambda: path.write_bytes(b""),
        lambda: path.chmod(0o644),
        path.unlink,
    )
    for damage in damages:
        damage()
        assert not inspect(str(own.directory)).intact
        assert lay(str(own.directory), Deadline(60))
        assert inspect(str(own.directory)).intact
    assert answers(own)


@pytest.mark.parametrize("missing", ["", "bin/python3", "lib/ld-linux-x86-64.so.2"])
def test_a_launcher_without_its_bundle_says_so(own: Bundle, missing: str, tmp_path: Path) -> None:
    odd = tmp_path / 'a "quoted" \\ dir\n\xe9'
    shutil.move(own.directory, odd)
    moved = Bundle(odd)
    gone = moved.tree / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    answer = call("{}", program=(moved.plugin,), CNI_COMMAND="ADD")
    assert answer.error["code"] == 5
    assert answer.error["cniVersion"] == "1.0.0"
    assert answer.error["details"] == "run interceptor cni install again"
    assert answer.error["msg"].endswith("cannot be started: it is not there")
    assert '"quoted" \\ dir\n' in answer.error["msg"]


def test_a_launcher_alone_says_so(tmp_path: Path) -> None:
    bare = tmp_path / "interceptor-cni"
    bare.write_bytes(launcher.base(Deadline(60)))
    bare.chmod(0o755)
    done = subprocess.run([bare], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 126
    assert done.stderr == f"{bare} does not say what to start\n"


def test_it_may_be_moved(own: Bundle, tmp_path: Path) -> None:
    shutil.move(own.directory, tmp_path / "elsewhere")
    assert answers(Bundle(tmp_path / "elsewhere"))
