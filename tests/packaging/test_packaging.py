"""Wheel, source archive, editable install and plain checkout: each finds its sheets."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from interceptor import __version__
from interceptor.sheets import loader

_ROOT = Path(__file__).parent.parent.parent
_WHERE = "from interceptor.sheets import loader; print(loader.rules_directory())"


def build(target: str, source: Path, directory: Path, **environment: str) -> Path:
    """Build a wheel or a source archive."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [made] = directory.iterdir()
    return made


def run(*argv: str, path: Path, cwd: Path) -> str:
    """Run Python with a package from somewhere else than the editable install."""
    packages = sysconfig.get_path("purelib")
    return subprocess.run(
        [sys.executable, "-S", *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{packages}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack a source archive."""
    made = build("sdist", _ROOT, tmp_path_factory.mktemp("sdist"))
    directory = tmp_path_factory.mktemp("source")
    shutil.unpack_archive(made, directory, "gztar")
    return directory / f"interceptor-{__version__}"


@pytest.mark.parametrize("origin", ["checkout", "archive"])
def test_a_wheel_brings_its_sheets(origin: str, archive: Path, tmp_path: Path) -> None:
    source = _ROOT if origin == "checkout" else archive
    wheel = build("wheel", source, tmp_path / "dist")
    installed = tmp_path / "installed"
    shutil.unpack_archive(wheel, installed, "zip")
    names = {str(path.relative_to(installed)) for path in installed.rglob("*")}
    assert "interceptor/_rules/sidecar.toml" in names
    assert f"interceptor-{__version__}.dist-info/licenses/LICENSE" in names
    assert (installed / "interceptor/_launcher/launcher").read_bytes().startswith(b"\x7fELF")
    machine = platform.machine()
    assert f"-py3-none-manylinux2014_{machine}.musllinux_1_1_{machine}.whl" in wheel.name
    assert not [n for n in names if n.startswith(("tests/", "bench/"))]
    where = run("-c", _WHERE, path=installed, cwd=tmp_path).strip()
    assert where == str(installed / "interceptor" / "_rules")
    listed = run("-m", "interceptor", "sheets", path=installed, cwd=tmp_path)
    assert "sidecar" in listed
    entry = (installed / f"interceptor-{__version__}.dist-info" / "entry_points.txt").read_text()
    assert "interceptor = interceptor.cli.entry:main" in entry
    assert "interceptor-cni = interceptor.cni.plugin:main" in entry


def test_a_wheel_without_a_compiler_is_for_any_machine(tmp_path: Path) -> None:
    wheel = build("wheel", _ROOT, tmp_path, PATH="/nonexistent", CC="")
    assert wheel.name.endswith("-py3-none-any.whl")


def test_a_source_archive_is_a_checkout(archive: Path) -> None:
    assert run("-c", _WHERE, path=archive, cwd=archive).strip() == str(archive / "rules")
    assert run("-m", "interceptor", "sheets", path=archive, cwd=archive).startswith("sheet")
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "tests"):
        assert (archive / name).exists()


def test_an_editable_install_uses_the_checkouts_sheets() -> None:
    assert loader.rules_directory() == str(_ROOT / "rules")


def test_python_iptables_is_optional() -> None:
    """It has no wheels: whoever has no compiler must still be able to install the rest."""
    text = (_ROOT / "pyproject.toml").read_text()
    required = text.partition("dependencies = [")[2].partition("]")[0]
    assert "python-iptables" not in required
