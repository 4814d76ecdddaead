"""The lines of an iptables-save dump; their words are in test_words."""

from __future__ import annotations

import pytest

from interceptor.names import Family
from interceptor.parse import iptables_save


@pytest.mark.parametrize("character", ["\n", "\r", "\f", "\x1c", "\x85", "\u2028", '\\"', "\\\\"])
def test_only_a_newline_outside_quotes_ends_a_line(character: str) -> None:
    line = f'-p udp -m comment --comment "one{character}two" -j ACCEPT'
    dump = f"*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT {line}\n-A OUTPUT -j DROP\nCOMMIT\n"
    chain = iptables_save.parse(dump, Family.IP).tables[0].chains[0]
    first, second = chain.rules
    assert first.text == line
    assert first.why == f"one{character.removeprefix(chr(92))}two"
    assert second.text == "-j DROP"
