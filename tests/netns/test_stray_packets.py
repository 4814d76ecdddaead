"""``--drop-invalid``: a packet that belongs to no connection is not answered with a reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import TCP

from tests.lab.craft import Wire, converse, syn_to
from tests.lab.paths import RulePath, done_well
from tests.lab.pod import POD
from tests.lab.traffic import recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


@pytest.fixture
def wire(pod: Pod) -> Iterator[Wire]:
    made = Wire(pod)
    yield made
    made.tap.close()


def is_answered(wire: Wire, version: int) -> bool:
    """Whether an answer nobody asked for, which conntrack calls invalid, is answered."""
    stray = syn_to(POD[version], 8080)
    stray[TCP].flags, stray[TCP].ack = "SA", 77
    wire.send(stray)
    return wire.answer(stray, timeout_s=0.3) is not None


@pytest.mark.parametrize("version", [4, 6])
def test_what_belongs_to_no_connection_is_dropped(
    pod: Pod, wire: Wire, rule_path: RulePath, version: int
) -> None:
    with recorder(pod.pod, 15006):
        done_well("install", *rule_path.flags, namespace=pod.pod)
        assert is_answered(wire, version)
        done_well("install", *rule_path.flags, "--drop-invalid", namespace=pod.pod)
        assert not is_answered(wire, version)
        assert converse(wire, syn_to(POD[version], 8080))["port"] == 15006
        excluded = ("--drop-invalid", "--exclude-interfaces", "eth0")
        done_well("install", *rule_path.flags, *excluded, namespace=pod.pod)
        assert is_answered(wire, version)
