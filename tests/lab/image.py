"""An image made here, from nothing: one static program, in the format ``docker save`` writes."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "localhost/interceptor-app:1"
APP = "/app"

_SOURCE = Path(__file__).with_name("app.c")


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def archive(path: Path, name: str, program: str, files: Mapping[str, bytes]) -> Path:
    """Write an image of one layer, whose files anybody may run, in which a program is started."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as packed:
        for file, content in files.items():
            _add(packed, file, content, 0o755)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [program], "Env": ["PATH=/"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"],
        },
    }
    text = json.dumps(config).encode()
    of_config = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": of_config, "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as image:
        _add(image, of_config, text)
        _add(image, "layer.tar", layer.getvalue())
        _add(image, "manifest.json", json.dumps(manifest).encode())
    return path


def save(directory: Path) -> Path:
    """Compile the program and give an archive with its image; without arguments it waits."""
    program = directory / "app"
    subprocess.run(
        ["/usr/bin/gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-o", program, _SOURCE],
        check=True,
        timeout=60,
    )
    files = {APP.lstrip("/"): program.read_bytes()}
    return archive(directory / "image.tar", NAME, APP, files)
