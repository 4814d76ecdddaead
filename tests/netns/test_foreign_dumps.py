"""Dumps of others are real: the kernel takes them, and prints back what is read as the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.names import Family
from interceptor.parse import iptables_save
from interceptor.render import iptables
from tests.lab import dumps
from tests.lab.netns import namespaces

if TYPE_CHECKING:
    from interceptor.model import Chain, Ruleset
    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_TEXTS = {
    **{name: (dumps.small(name), dumps.family_of(name)) for name in dumps.SMALL},
    "kube-proxy": (dumps.kube_proxy(200, 2), Family.IP),
    "docker": (dumps.docker(3), Family.IP),
    # Rules that name a set need it there, and the tool that makes one is not everywhere.
    "calico": (dumps.calico(3, with_sets=False), Family.IP),
}
_TOOLS = {Family.IP: "iptables", Family.IP6: "ip6tables"}

Content = dict[tuple[str, str], "Chain"]


def content(ruleset: Ruleset) -> Content:
    """Give all chains by table and name: tools list both in orders of their own."""
    return {(t.name, chain.name): chain for t in ruleset.tables for chain in t.chains}


def kept(namespace: Namespace, variant: str, text: str, family: Family) -> Ruleset:
    """Load a text into a namespace and read what the kernel has then."""
    tool = f"{_TOOLS[family]}-{variant}"
    namespace.run(f"{tool}-restore", stdin=text)
    return iptables_save.parse(namespace.run(f"{tool}-save"), family)


@pytest.mark.parametrize("name", _TEXTS)
def test_the_kernel_prints_back_what_is_read_as_the_same(name: str) -> None:
    text, family = _TEXTS[name]
    read = iptables_save.parse(text, family)
    for variant in ("legacy", "nft"):
        with namespaces("dump") as [namespace]:
            assert content(kept(namespace, variant, text, family)) == content(read)


@pytest.mark.parametrize("name", [name for name in _TEXTS if name != "kube-proxy"])
def test_what_was_read_is_written_in_words_the_kernel_takes(name: str) -> None:
    """Not from the lines that were read, but from what they were read as."""
    text, family = _TEXTS[name]
    read = iptables_save.parse(text, family)
    for variant in ("legacy", "nft"):
        with namespaces("dump") as [namespace]:
            written = kept(namespace, variant, iptables.text(read), family)
            assert content(written) == content(read)
