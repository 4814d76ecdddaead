"""The eBPF programs in a wheel: compiled, and as the source that bcc compiles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.lab.ebpf import new_root
from tests.packaging.test_packaging import build

_ROOT = Path(__file__).parent.parent.parent
_OBJECTS = {"interceptor.bpf.o", "inbound.bpf.o"}
_LOAD = """
import sys
import interceptor
from interceptor.backends.ebpf.machine import Machine
from interceptor.system.deadline import Deadline
with Machine(Deadline(60), *sys.argv[1:]) as machine:
    try:
        machine.load()
        print(interceptor.__file__, len(machine.attached()))
    finally:
        machine.unload(even_if_used=True)
"""


@pytest.fixture(scope="module", params=["checkout", "archive"])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel of the checkout, or of the source archive of it."""
    directory = tmp_path_factory.mktemp("wheel")
    if request.param == "checkout":
        return build("wheel", _ROOT, directory / "dist")
    shutil.unpack_archive(build("sdist", _ROOT, directory / "sdist"), directory, "gztar")
    [source] = directory.glob("interceptor-*")
    return build("wheel", source, directory / "dist")


def test_a_wheel_brings_the_programs_where_clang_was(wheel: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(wheel, tmp_path, "zip")
    built = tmp_path / "interceptor" / "_bpf"
    found = {path.name for path in built.iterdir()} if built.exists() else set()
    assert found == (_OBJECTS if shutil.which("clang") else set())
    for name in found:
        assert (built / name).read_bytes() == (_ROOT / "interceptor/_bpf" / name).read_bytes()
    sources = {path.name for path in (tmp_path / "interceptor/_rules/bpf").iterdir()}
    assert sources == {path.name for path in (_ROOT / "rules/bpf").iterdir()}


@pytest.mark.root
@pytest.mark.parametrize("loader", ["libbpf", "bcc"])
def test_an_installed_wheel_loads_them(wheel: Path, tmp_path: Path, loader: str) -> None:
    # bcc is Debian's, and not to be had otherwise.
    venv.create(tmp_path / "venv", system_site_packages=loader == "bcc")
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = ("-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps")
    subprocess.run([sys.executable, *pip, str(wheel)], check=True)
    # What it depends on, without the checkout's editable install: that is in a .pth file.
    packages = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(
        [python, "-c", _LOAD, new_root(), loader],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=packages,
    )
    assert (done.returncode, done.stderr) == (0, "")
    where, attached = done.stdout.split()
    assert Path(where).is_relative_to(tmp_path / "venv")
    assert attached == "10"
