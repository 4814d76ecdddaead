"""A machine for each test, and one for those of a file that only look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.ebpf import Lab, lab_machine

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["libbpf", "bcc"])
def by_either(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Programs and maps for this test alone, by each loader."""
    with lab_machine(request.param) as made:
        yield made


@pytest.fixture
def machine() -> Iterator[Lab]:
    """Programs and maps for this test alone."""
    with lab_machine() as made:
        yield made
