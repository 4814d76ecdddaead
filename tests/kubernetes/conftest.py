"""Tests with a real API server and kubelet, which have to be built first: make test-kubernetes.

Without that they are not collected, and so none is skipped.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lab.kubernetes.cluster import Cluster, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

collect_ignore_glob = [] if os.environ.get("KUBERNETES") else ["test_*.py"]


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """It takes ten seconds to come up, so all tests share one."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made
