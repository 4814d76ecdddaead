"""Each way to install it, in a Python of its own, gives all of it: tried on a real kernel."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from interceptor import __version__
from tests.lab.ebpf_node import ebpf_node
from tests.lab.paths import EBPF, RULE_PATHS, Done, dump, interceptor
from tests.packaging.test_packaging import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.pod import Pod

_ROOT = Path(__file__).parent.parent.parent
_GIVEN = os.environ.get("RELEASE")
"""A directory with the very files that are to be released."""
_MADE_HERE = (
    ".cache",
    ".git",
    ".stamps",
    ".venv",
    "*_cache",
    "__pycache__",
    "_bpf",
    "dist",
)


class Installed(NamedTuple):
    """One way it was installed."""

    program: tuple[str, ...]
    plugin: tuple[str, ...]
    environment: dict[str, str]

    def __call__(self, *arguments: str, prefix: tuple[str, ...] = ()) -> Done:
        done = interceptor(
            *arguments, program=self.program, prefix=prefix, environment=self.environment
        )
        assert done.code == 0, done
        return done


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have a source archive, and a wheel that is made of it."""
    if _GIVEN:
        return Path(_GIVEN).absolute()
    made = tmp_path_factory.mktemp("dist")
    archive = build("sdist", _ROOT, tmp_path_factory.mktemp("sdist"))
    unpacked = tmp_path_factory.mktemp("source")
    shutil.unpack_archive(archive, unpacked, "gztar")
    [source] = unpacked.iterdir()
    for file in (archive, build("wheel", source, tmp_path_factory.mktemp("wheel"))):
        shutil.copy2(file, made)
    return made


def pip(directory: Path, *arguments: str) -> Path:
    """Make a Python of its own, and install there from the index, what was tested."""
    home = directory / "venv"
    venv.create(home, with_pip=True)
    pinned = directory / "pinned.txt"
    locks = "".join((_ROOT / ".ci" / name).read_text() for name in ("build.lock", "dev.lock"))
    pinned.write_text("\n".join(re.findall(r"^[\w.-]+==[^ ]+", locks, re.MULTILINE)))
    quietly = ("--quiet", "--disable-pip-version-check", "--no-input")
    done = subprocess.run(
        [str(home / "bin/python"), "-m", "pip", "install", *quietly, *arguments],
        env={**os.environ, "PIP_CONSTRAINT": str(pinned)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return home / "bin"


def checkout(directory: Path) -> Path:
    """Copy this one, without what was made in it."""
    ignored = shutil.ignore_patterns(*_MADE_HERE)
    return shutil.copytree(_ROOT, directory / "checkout", ignore=ignored)


def scripts(there: Path) -> Installed:
    return Installed((str(there / "interceptor"),), (str(there / "interceptor-cni"),), {})


def by_wheel(directory: Path, files: Path) -> Installed:
    [wheel] = files.glob("*.whl")
    return scripts(pip(directory, str(wheel)))


def by_archive(directory: Path, files: Path) -> Installed:
    [archive] = files.glob("*.tar.gz")
    return scripts(pip(directory, str(archive)))


def editable(directory: Path, files: Path) -> Installed:
    del files
    return scripts(pip(directory, "--editable", str(checkout(directory))))


def not_at_all(directory: Path, files: Path) -> Installed:
    """Run it where it lies; its dependencies are those the wheel says."""
    [wheel] = files.glob("*.whl")
    there = pip(directory, str(wheel))
    python = str(there / "python")
    subprocess.run(
        [python, "-m", "pip", "uninstall", "--quiet", "--yes", "interceptor"], check=True
    )
    source = checkout(directory)
    subprocess.run([str(source / ".ci/bpf")], check=True)
    run = (python, "-m")
    return Installed(
        (*run, "interceptor"),
        (python, "-c", "from interceptor.cni.plugin import main; main()"),
        {"PYTHONPATH": str(source)},
    )


def is_whole(installed: Installed) -> None:
    assert installed("--version").stdout.strip().endswith(__version__)
    shipped = {path.stem for path in (_ROOT / "rules").glob("*.toml")}
    listed = installed("sheets", "--output", "json").json["sheets"]
    assert {sheet["name"] for sheet in listed} == shipped
    assert "loop-free" in installed("prove").stdout


def intercepts(installed: Installed, pod: Pod) -> None:
    """Install on each backend, with real connections, and leave nothing."""
    before = dump(pod.pod)
    there = ("--netns", pod.pod.path)
    with ebpf_node() as node:
        for path in (*RULE_PATHS, EBPF):
            install = ("install", "--verify", *path.flags, *there)
            assert "installed in" in installed(*install, prefix=node.prefix).stdout
            said = installed("status", *there, prefix=node.prefix).stdout
            assert said.startswith("in-sync"), said
            installed("uninstall", *there, prefix=node.prefix)
            assert dump(pod.pod) == before


def brings_the_plugin(installed: Installed, host: Path) -> None:
    """Ask it what it speaks, as it is, and as it is laid down on a node."""
    (host / "etc/cni/net.d").mkdir(parents=True)
    (host / "etc/cni/net.d/10-bridge.conflist").write_text(
        json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]})
    )
    installed("cni", "install", "--host-root", str(host))
    for program in (installed.plugin, (str(host / "opt/cni/bin/interceptor-cni"),)):
        done = subprocess.run(
            program,
            input='{"cniVersion": "1.0.0"}',
            env={"CNI_COMMAND": "VERSION", "PATH": "/usr/bin:/bin", **installed.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done
        assert "1.1.0" in json.loads(done.stdout)["supportedVersions"]


@pytest.mark.root
@pytest.mark.parametrize("way", [by_wheel, by_archive, editable, not_at_all])
def test_it_does_the_whole_job(
    way: Callable[[Path, Path], Installed], files: Path, tmp_path: Path, pod: Pod
) -> None:
    installed = way(tmp_path, files)
    is_whole(installed)
    intercepts(installed, pod)
    brings_the_plugin(installed, tmp_path / "host")
