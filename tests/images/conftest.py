"""The images, and a podman that has them, on a host whose networks do nothing of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import cni
from tests.lab.images import CNI, INIT, Image, built
from tests.lab.node import Node, node
from tests.lab.podman import Podman, podman

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def images() -> Path:
    """The directory that ``make images`` leaves."""
    return built()


@pytest.fixture(scope="session", params=[INIT, CNI])
def image(request: pytest.FixtureRequest, images: Path) -> tuple[str, Image]:
    """Each image, by its name."""
    return request.param, Image(images / f"{request.param}.tar")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A host with one network, without us."""
    directory = tmp_path_factory.mktemp("host")
    with node(directory) as made:
        cni.write(made.conf_dir / "10-plain.conflist", cni.conflist(directory, name="plain"))
        yield made


@pytest.fixture(scope="module")
def runtime(host: Node, images: Path) -> Iterator[Podman]:
    """A podman that has the images."""
    own = host.directory / "podman"
    own.mkdir()
    with podman(
        own, conf_dir=host.conf_dir, bin_dir=host.bin_dir, network="plain", namespace=host.host
    ) as made:
        for name in (INIT, CNI):
            made.well("load", "--quiet", "--input", str(images / f"{name}.tar"))
        yield made
