"""An image with Envoy and the libraries it asks for."""

from __future__ import annotations

from pathlib import Path

from images.assemble import libraries
from tests.lab import image
from tests.lab.envoy import binary

NAME = "localhost/interceptor-envoy:1"
_PROGRAM = "envoy"


def save(directory: Path) -> Path:
    """Give an archive with the image."""
    needed = {*libraries.needed([str(binary())]), libraries.loader()}
    files = {path.lstrip("/"): Path(path).read_bytes() for path in sorted(needed)}
    files[_PROGRAM] = binary().read_bytes()
    return image.archive(directory / "envoy.tar", NAME, f"/{_PROGRAM}", files)
