"""The project's images, built once for all processes, and again when what is in them changes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interceptor import __version__
from tests.lab.leftovers import unmount_below

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
INIT, CNI = "interceptor-init", "interceptor-cni"
LABELS = {
    "VERSION": __version__,
    "REVISION": "0123456789abcdef",
    "SOURCE": "https://example.org/interceptor",
    "SOURCE_DATE_EPOCH": "1700000000",
}
"""Not git's, or every commit would make other images."""

_CACHE = ROOT / ".cache/images"
_MADE_OF = (
    *("interceptor", "rules", "images"),
    *("pyproject.toml", "README.md", "LICENSE", ".ci/bpf", ".ci/build_hook.py", ".ci/build.lock"),
)
_NOT_OF = ("__pycache__", "manifests")
_CONTAINERS = """\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
static_dir = "{directory}/storage/libpod"
tmp_dir = "{directory}/tmp"
"""
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{directory}/storage"
runroot = "{run}"
"""


def name(image: str) -> str:
    """Give what a built image is called."""
    return f"localhost/{image}:{LABELS['VERSION']}"


def _key() -> str:
    said = hashlib.sha256()
    for top in _MADE_OF:
        path = ROOT / top
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not set(_NOT_OF) & set(file.relative_to(ROOT).parts):
                said.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return said.hexdigest()[:16]


@contextmanager
def _alone() -> Iterator[None]:
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _builder() -> Iterator[dict[str, str]]:
    """Give an environment in which podman keeps nothing."""
    kept = Path(tempfile.mkdtemp(prefix="build-", dir=_CACHE))
    run = tempfile.mkdtemp(prefix="iv-build-", dir="/run")
    try:
        for file, text in (("containers.conf", _CONTAINERS), ("storage.conf", _STORAGE)):
            (kept / file).write_text(text.format(directory=kept, run=run))
        yield {
            **os.environ,
            **LABELS,
            "CONTAINERS_CONF": str(kept / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(kept / "storage.conf"),
        }
    finally:
        for one in (kept, Path(run)):
            unmount_below(one)
            shutil.rmtree(one, ignore_errors=True)


def _run(environment: dict[str, str], *argv: str | Path) -> str:
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


def build(directory: Path, **more: str) -> None:
    """Build wheels and images, by a podman that keeps nothing, into a directory."""
    with _builder() as environment:
        _run(environment, "images/wheels")
        _run(environment | more, "images/build", str(directory))


def built() -> Path:
    """Give the directory with the images as ``images/build`` leaves them."""
    made = _CACHE / f"built-{_key()}"
    with _alone():
        if not made.exists():
            for older in _CACHE.glob("built-*"):
                shutil.rmtree(older)
            build(made.with_name("new"))
            made.with_name("new").rename(made)
    return made


def built_again(directory: Path) -> Path:
    """Build everything anew, whatever is there; the base too."""
    with _alone():
        build(directory, FRESH="1")
    return directory


def built_by_containerfile(directory: Path, image: str) -> Path:
    """Build an image as those do who have a registry: of a Debian that has nothing yet."""
    plain, base, made = directory / "plain.tar", "localhost/plain:1", "localhost/made:1"
    with _alone(), _builder() as environment:
        codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
        wanted = ("Identifier: Packages", "Origin: Debian", "Component: main")
        form = "deb $(REPO_URI) $(CODENAME) main"
        found = _run(environment, "apt-get", "indextargets", "--format", form, *wanted)
        sources = sorted(one for one in set(found.splitlines()) if f" {codename}" in one)
        _run(environment, "mmdebstrap", "--quiet", "--variant=minbase", codename, plain, *sources)
        _run(environment, "podman", "import", "--quiet", str(plain), base)
        _run(environment, "images/wheels")
        given = [f"{name}={value}" for name, value in (*LABELS.items(), ("BASE", base))]
        _run(
            environment,
            *("podman", "build", "--quiet", "--isolation", "chroot", "--network", "host"),
            *("--pull=never", "--layers=false", "--timestamp", LABELS["SOURCE_DATE_EPOCH"]),
            *(word for one in given for word in ("--build-arg", one)),
            *("--tag", made, "--file", f"images/{image}/Containerfile", "."),
        )
        archive = directory / "made.tar"
        _run(environment, "podman", "save", "--format", "oci-archive", "--output", archive, made)
    return archive


class Image:
    """What is in an image's archive (OCI)."""

    def __init__(self, archive: Path) -> None:
        with tarfile.open(archive) as files:

            def read(digest: str) -> bytes:
                found = files.extractfile(f"blobs/{digest.replace(':', '/')}")
                assert found
                return found.read()

            index = files.extractfile("index.json")
            assert index
            [entry] = json.load(index)["manifests"]
            self.digest: str = entry["digest"]
            manifest = json.loads(read(self.digest))
            self.config: dict[str, Any] = json.loads(read(manifest["config"]["digest"]))
            self.layers = [read(layer["digest"]) for layer in manifest["layers"]]
