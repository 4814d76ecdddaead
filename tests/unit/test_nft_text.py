"""nft's text: it means what nft's JSON means, and texts that are no listing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interceptor import model
from interceptor.dialect import OWN
from interceptor.errors import ParseError
from interceptor.model import Ruleset
from interceptor.names import ChainType, Family, Hook
from interceptor.parse import nft_text
from interceptor.parse.nft_phrase import statements
from interceptor.render import nftables
from tests.lab.cases import CASES, GOLDENS
from tests.unit.common import rules

_LISTING = """\
# Warning: table ip nat is managed by iptables-nft, do not touch!
table inet filter { # handle 7
	comment "a table"
	counter c1 {
		packets 3 bytes 100
	}

	set blocked {
		type ipv4_addr
		flags interval,timeout
		timeout 1h
		elements = { 10.9.0.0/16 timeout 5m expires 4m59s972ms comment "bad, very",
				10.10.0.1-10.10.0.77 expires 59m59s }
	}

	map verdicts {
		type inet_service : verdict
		elements = { 22 counter packets 0 bytes 0 : accept, 80 : jump x }
	}

	flowtable ft {
		hook ingress priority filter
		devices = { lo }
	}

	chain x { # handle 1
	}

	chain input { # handle 2
		comment "a chain"
		type filter hook input priority mangle - 5; policy drop;
		ip saddr @blocked counter packets 5 bytes 9 drop comment "bad ones" # handle 3
		tcp dport vmap @verdicts # handle 4
		what nobody knows accept
	}
}
table bridge b {
	chain c {
		type filter hook input priority out; policy accept;
		who knows
	}
}
table ip raw {
	flags dormant
}
"""


def test_a_listing() -> None:
    found = nft_text.parse(_LISTING)
    assert [(t.family, t.name, t.flags) for t in found.tables] == [
        (Family.INET, "filter", ()),
        (Family.IP, "raw", ("dormant",)),
    ]
    x, chain = found.tables[0].chains
    assert x == model.Chain("x")
    assert chain.base == model.Base(ChainType.FILTER, Hook.INPUT, -155, "drop")
    assert [str(type(rule.action).__name__) for rule in chain.rules] == [
        "Drop",
        "Accept",
        "Jump",
        "UnreadableAction",
    ]
    assert chain.rules[0].why == "bad ones"
    [source] = chain.rules[0].matches
    assert isinstance(source, model.Source)
    assert str(source.networks.ip[0]) == "10.9.0.0/16"


@pytest.mark.parametrize("case", CASES)
def test_what_we_write_is_read_as_it_was(case: str) -> None:
    text = (GOLDENS / f"{case}.nft").read_text()
    assert nft_text.parse(text) == nftables.lower(rules(**CASES[case]), OWN)


_PHRASES: list[tuple[str, list[dict[str, Any]]]] = [
    ("queue flags bypass to 5", [{"text": "queue flags bypass to 5"}]),
    ('xt match "comment"', [{"xt": {"type": "match", "name": "comment"}}]),
    ("flow add @ft", [{"text": "flow add @ft"}]),
    ("counter last used never", [{"counter": None}, {"last": None}]),
    ("dnat to [fd00::1]:80", [{"dnat": {"addr": "fd00::1", "port": 80}}]),
    ('limit name "l" accept', [{"limit": "l"}, {"accept": None}]),
    ("quota until 5 bytes", [{"quota": {"val": 5, "val_unit": "bytes"}}]),
    (
        'meta skuid "root"',
        [{"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": "root"}}],
    ),
    (
        "tcp flags & (fin | syn) == syn",
        [
            {
                "match": {
                    "op": "==",
                    "left": {
                        "&": [
                            {"payload": {"protocol": "tcp", "field": "flags"}},
                            {"|": ["fin", "syn"]},
                        ]
                    },
                    "right": "syn",
                }
            }
        ],
    ),
]


@pytest.mark.parametrize(("words", "expected"), _PHRASES)
def test_phrases(words: str, expected: list[dict[str, Any]]) -> None:
    from interceptor.parse.nft_tokens import tokenize

    assert statements(tokenize(words), "inet") == expected


def test_nothing_is_a_listing_of_nothing() -> None:
    assert nft_text.parse(" \n") == Ruleset()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hello", 1),
        ("table ip t {\n", 1),
        ("table ip t {\n}\n}\n", 3),
        ("table ip t {\n\tchain c {\n\t\taccept\n", 1),
        ("table ip t {\n\tchain c {\n\t\ttype filter hook input priority what;\n\t}\n}\n", 3),
        ("table ip t {\n\tchain c {\n\t\tip daddr { 1, ( }\n\t}\n}\n", 1),
        ("table what t {\n}\n", 1),
        ("*nat\n-A x\nCOMMIT\n", 1),
    ],
)
def test_what_is_no_listing_is_named(text: str, line: int) -> None:
    with pytest.raises(ParseError, match=f"^line {line}: ") as raised:
        nft_text.parse(text)
    assert "nft list ruleset" in raised.value.hint


def test_rows_of_a_set_nobody_can_read_are_no_guess() -> None:
    text = (
        "table ip t {\n set s {\n type ipv4_addr\n elements = { what is ( this ) }\n }\n"
        " chain c {\n ip saddr @s drop\n }\n}\n"
    )
    [rule] = nft_text.parse(text).tables[0].chains[0].rules
    assert isinstance(rule.matches[0], model.Unreadable)


_TEXTS = [_LISTING, *((GOLDENS / f"{case}.nft").read_text() for case in sorted(CASES))]
_BITS = ["{", "}", "(", '"', "\n", ";", ",", "@", "vmap", "0x", "::", "/", "-", "table", "\x00"]


@given(st.sampled_from(_TEXTS), st.integers(0, 3000))
@settings(max_examples=200, deadline=None)
def test_a_truncated_text_is_an_error_or_rules(text: str, at: int) -> None:
    try:
        assert isinstance(nft_text.parse(text[:at]), Ruleset)
    except ParseError:
        return


@given(
    st.sampled_from(_TEXTS),
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 30), st.sampled_from(_BITS) | st.text()),
        max_size=5,
    ),
)
@settings(max_examples=300, deadline=None)
def test_a_mangled_text_is_an_error_or_rules(
    text: str, changes: list[tuple[int, int, str]]
) -> None:
    for at, count, bit in changes:
        text = text[:at] + bit + text[at + count :]
    try:
        assert isinstance(nft_text.parse(text), Ruleset)
    except ParseError:
        return
