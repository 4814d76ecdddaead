"""Fixtures of several files here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from interceptor.cni.netconf import Lookup
from tests.lab.api_server import self_signed
from tests.lab.bundle import Bundle


@pytest.fixture
def own(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle that a test may change."""
    return Bundle(Path(shutil.copytree(bundle.directory, tmp_path / "bin", symlinks=True)))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's own, for localhost."""
    return self_signed(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture
def lookup(tmp_path: Path) -> Lookup:
    """How to ask an API server whose kubeconfig is not written yet."""
    (tmp_path / "token").write_text("first\n")
    return Lookup(str(tmp_path / "kubeconfig"), timeout=2.0)
