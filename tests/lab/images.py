"""The project's images, built once for all processes, and again when what is in them changes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
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


def build(directory: Path, *more: str) -> None:
    """Build wheels and images, by a podman that keeps nothing, into a directory."""
    kept = Path(tempfile.mkdtemp(prefix="build-", dir=_CACHE))
    run = tempfile.mkdtemp(prefix="iv-build-", dir="/run")
    try:
        for file, text in (("containers.conf", _CONTAINERS), ("storage.conf", _STORAGE)):
            (kept / file).write_text(text.format(directory=kept, run=run))
        environment = {
            **os.environ,
            **LABELS,
            **dict(one.split("=", 1) for one in more),
            "CONTAINERS_CONF": str(kept / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(kept / "storage.conf"),
        }
        for script in (["images/wheels"], ["images/build", str(directory)]):
            done = subprocess.run(
                script,
                cwd=ROOT,
                env=environment,
                check=False,
                capture_output=True,
                text=True,
                timeout=900,
            )
            assert done.returncode == 0, (script, done.stdout, done.stderr)
    finally:
        for one in (kept, Path(run)):
            unmount_below(one)
            shutil.rmtree(one, ignore_errors=True)


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
        build(directory, "FRESH=1")
    return directory


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
