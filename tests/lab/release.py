"""``make release-check``: what a release is made of, and whether it is whole.

::

    python -m tests.lab.release dist

leaves a source archive and a wheel in ``dist``, built of the last commit alone, and fails where
one of them is not what it should be.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.metadata import Metadata

from interceptor import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).parent.parent.parent
_PROGRAMS = {"_bpf/inbound.bpf.o", "_bpf/interceptor.bpf.o"}
_SAYS_VERSION = (
    ("CHANGELOG.md", r"^## (\S+)"),
    ("images/manifests/init-pod.yaml", r"image: localhost/interceptor-init:(\S+)"),
    ("images/manifests/cni/daemonset.yaml", r"image: localhost/interceptor-cni:(\S+)"),
    ("README.md", r"image: localhost/interceptor-init:(\S+)"),
    ("docs/images.md", r"interceptor-init:(\S+)"),
)


class NotWholeError(Exception):
    """What is wrong with it, for people."""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["/usr/bin/git", *arguments], cwd=_ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def nothing_is_uncommitted() -> str:
    """A release is a commit."""
    changed = _git("status", "--porcelain")
    if changed:
        raise NotWholeError(f"not committed:\n{changed}")
    return _git("rev-parse", "--short", "HEAD")


def every_file_says_one_version(root: Path = _ROOT) -> str:
    """The newest in the changelog is this, and so are the images' names."""
    for name, pattern in _SAYS_VERSION:
        said = re.search(pattern, (root / name).read_text(), re.MULTILINE)
        if said is None or said[1] != __version__:
            raise NotWholeError(f"{name} says {said[1] if said else 'nothing'}, not {__version__}")
    return __version__


def _build(target: str, source: Path, to: Path) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _git("log", "-1", "--format=%ct")}
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(to)],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotWholeError(f"the {target} cannot be built: {done.stderr}")
    [made] = to.iterdir()
    return made


def build_of_commit(work: Path) -> list[Path]:
    """Build the archive of a clean checkout, and the wheel of what is in the archive."""
    source = work / "source"
    subprocess.run(
        ["/usr/bin/git", "clone", "--quiet", "--no-hardlinks", str(_ROOT), str(source)], check=True
    )
    archive = _build("sdist", source, work / "sdist")
    shutil.unpack_archive(archive, work / "unpacked", "gztar")
    [unpacked] = (work / "unpacked").iterdir()
    return [archive, _build("wheel", unpacked, work / "wheel")]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def built_again_they_are_the_same(files: list[Path], work: Path) -> str:
    """Who builds it again gets the same bytes."""
    for one, other in zip(files, build_of_commit(work), strict=True):
        if _digest(one) != _digest(other):
            raise NotWholeError(f"{one.name} is other bytes when it is built again")
    return "yes"


def _metadata(text: bytes) -> None:
    Metadata.from_email(text, validate=True)
    described = message_from_bytes(text)["Description-Content-Type"]
    if described != "text/markdown":
        raise NotWholeError(f"its description is {described}")


def archive_is_whole(archive: Path) -> str:
    """It has the programs compiled, and what it takes to do so again and to test."""
    top = f"interceptor-{__version__}/"
    with tarfile.open(archive) as files:
        names = {name.removeprefix(top) for name in files.getnames()}
        wanted = {f"interceptor/{one}" for one in _PROGRAMS} | {
            *("rules/sidecar.toml", "rules/bpf/decide.h", ".ci/bpf", "tests/conftest.py"),
            *("LICENSE", "README.md", "CHANGELOG.md", "images/recipe.toml"),
        }
        if missing := wanted - names:
            raise NotWholeError(f"{archive.name} lacks {', '.join(sorted(missing))}")
        described = files.extractfile(f"{top}PKG-INFO")
        assert described
        _metadata(described.read())
    return f"{len(names)} files"


def wheel_is_whole(wheel: Path) -> str:
    """It has every sheet, the programs and the launcher, and neither tests nor benchmarks."""
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        sheets = {f"interceptor/_rules/{path.name}" for path in (_ROOT / "rules").glob("*.toml")}
        wanted = {f"interceptor/{one}" for one in _PROGRAMS}
        wanted |= sheets | {"interceptor/_launcher/launcher", "interceptor/_rules/bpf/decide.h"}
        if missing := wanted - names:
            raise NotWholeError(f"{wheel.name} lacks {', '.join(sorted(missing))}")
        if others := [n for n in names if not re.match(r"interceptor(-[^/]*\.dist-info)?/", n)]:
            raise NotWholeError(f"{wheel.name} has {', '.join(sorted(others))}")
        _metadata(files.read(f"interceptor-{__version__}.dist-info/METADATA"))
    return f"{len(names)} files, {len(sheets)} sheets"


def each_way_to_install_works(directory: Path) -> str:
    """A wheel, a source archive, an editable install and a checkout, on a real kernel."""
    argv = [sys.executable, "-m", "pytest", "-q", "-n", "4", "--no-skips", "tests/packaging"]
    environment = {**os.environ, "RELEASE": str(directory.absolute())}
    done = subprocess.run(
        argv, cwd=_ROOT, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise NotWholeError(done.stdout + done.stderr)
    return done.stdout.strip().splitlines()[-1]


def _say(what: str, check: Callable[[], str]) -> None:
    print(f"{what:<44}", end="", flush=True)
    print(check(), flush=True)


def main() -> int:
    """Check all of it; 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.release", description=__doc__)
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            _say("the commit", nothing_is_uncommitted)
            _say("the version, in every file that says it", every_file_says_one_version)
            built = build_of_commit(Path(first))
            for old in (*directory.glob("*.whl"), *directory.glob("*.tar.gz")):
                old.unlink()
            files = [Path(shutil.copy2(file, directory)) for file in built]
            archive, wheel = files
            _say(
                "built twice, the same bytes",
                lambda: built_again_they_are_the_same(files, Path(second)),
            )
        _say("the source archive is whole", lambda: archive_is_whole(archive))
        _say("the wheel is whole", lambda: wheel_is_whole(wheel))
        _say("each way to install it works", lambda: each_way_to_install_works(directory))
    except NotWholeError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    for file in files:
        print(f"{_digest(file)}  {file}  {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
