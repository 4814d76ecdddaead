"""The addresses of a namespace, in the order the kernel lists them."""

from __future__ import annotations

import sys

import pytest

from interceptor.system.addresses import addresses
from tests.lab.netns import Namespace, namespaces

pytestmark = pytest.mark.root


def listed(namespace: Namespace) -> list[str]:
    with namespace:
        return [str(address) for address in addresses()]


def test_ipv4_comes_first_and_then_interface_by_interface() -> None:
    with namespaces("addresses") as (pod,):
        assert listed(pod) == ["127.0.0.1", "::1"]
        pod.run("ip", "link", "add", "b0", "type", "veth", "peer", "name", "a0")
        pod.address("b0", "10.9.0.1/24", "fd09::1/64")
        pod.address("a0", "10.1.0.1/24", "fd01::1/64", "10.1.0.2/32")
        # The peer was made first.
        assert listed(pod) == [
            *("127.0.0.1", "10.1.0.1", "10.1.0.2", "10.9.0.1"),
            *("::1", "fd01::1", "fd09::1"),
        ]


def test_of_a_link_between_two_the_own_end_counts() -> None:
    with namespaces("addresses") as (pod,):
        pod.run("ip", "addr", "add", "10.0.0.1", "peer", "10.0.0.2", "dev", "lo")
        pod.run("ip", "addr", "add", "fd00::1", "peer", "fd00::2", "dev", "lo")
        assert listed(pod) == ["127.0.0.1", "10.0.0.1", "fd00::1", "::1"]


def test_there_may_be_more_than_one_answer_holds() -> None:
    with namespaces("addresses") as (pod,):
        lines = "".join(f"addr add 10.{n >> 8}.{n & 255}.1/32 dev lo\n" for n in range(2000))
        pod.run("ip", "-batch", "-", stdin=lines)
        assert len(listed(pod)) == 2002


def test_no_privilege_is_needed() -> None:
    code = "from interceptor.system.addresses import addresses; print(addresses()[0])"
    with namespaces("addresses") as (pod,):
        nobody = ("setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all")
        assert pod.run(*nobody, "--inh-caps=-all", sys.executable, "-c", code) == "127.0.0.1\n"
