"""Dumps where others have made rules: what they are read as, and that none brings a reader down.

That the kernel prints such dumps is shown in tests/netns.
"""

from __future__ import annotations

from collections import Counter
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptor import model
from interceptor.errors import ParseError
from interceptor.names import Family
from interceptor.parse import iptables_save
from interceptor.values import Ids, Interfaces, Mark, Marks, Networks, Ports
from tests.lab import dumps

_TEXTS = {
    **{name: (dumps.small(name), dumps.family_of(name)) for name in dumps.SMALL},
    "kube-proxy": (dumps.kube_proxy(20, 3, 2), Family.IP),
    "docker": (dumps.docker(2), Family.IP),
    "calico": (dumps.calico(2), Family.IP),
}

_UNREAD = {
    # NFQUEUE, a range of ports, and a range of addresses, of which the kernel chooses.
    "host.ip": (18, 3),
    "host.ip6": (6, 0),
    # TPROXY to an address of its own.
    "cilium.ip": (0, 2),
    # By chance for all but the last endpoint, and "recent" twice an endpoint of two services.
    "kube-proxy": (20 * 2 + 2 * 3 * 2, 0),
    # rpfilter, two sets, and one question for an address' type.
    "calico": (4, 0),
}
"""How many matches and actions of a dump nobody reads; of all others everything is read."""


def parsed(name: str) -> model.Ruleset:
    text, family = _TEXTS[name]
    return iptables_save.parse(text, family)


def rules(ruleset: model.Ruleset) -> list[model.Rule]:
    return [rule for table in ruleset.tables for chain in table.chains for rule in chain.rules]


@pytest.mark.parametrize("name", _TEXTS)
def test_no_more_is_unread_than_has_to_be(name: str) -> None:
    ruleset = parsed(name)
    ruleset.validate()
    read = rules(ruleset)
    matches = [m for rule in read for m in rule.matches if isinstance(m, model.Unreadable)]
    actions = [rule for rule in read if isinstance(rule.action, model.UnreadableAction)]
    assert (len(matches), len(actions)) == _UNREAD.get(name, (0, 0))


@pytest.mark.parametrize("name", _TEXTS)
def test_each_line_is_a_rule_or_a_chain(name: str) -> None:
    text, _ = _TEXTS[name]
    lines = [line for line in text.splitlines() if line.startswith((":", "-A"))]
    assert sum(parsed(name).counts) == len(lines)
    assert Counter(rule.text for rule in rules(parsed(name))) == Counter(
        line.split(" ", 2)[2] for line in lines if line.startswith("-A")
    )


def _networks(text: str) -> Networks:
    return Networks.parse(text)


_TCP, _UDP = model.Protocol("tcp"), model.Protocol("udp")
_LOCAL = model.DestinationIsLocal("-m addrtype --dst-type LOCAL")
_DNS = model.DestinationPort(Ports.of(53))
_LO = model.OutInterface(Interfaces(("lo",)))
_LOCALHOST = _networks("127.0.0.1/32")

_LINES = [
    (
        "istio.ip",
        (
            "! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337"
            " -j ISTIO_IN_REDIRECT"
        ),
        (
            model.Destination(_LOCALHOST, negated=True),
            _LO,
            _TCP,
            model.DestinationPort(Ports.of(15008), negated=True),
            model.Uid(Ids.of(1337)),
        ),
        model.Jump("ISTIO_IN_REDIRECT"),
    ),
    (
        "istio-ambient.ip",
        "-m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff",
        (model.PacketMark(Marks((Mark(0x539, 0xFFF),))),),
        model.SetConnectionMark(0x111, 0xFFF),
    ),
    (
        "osm.ip",
        "-p tcp -m tcp --dport 15000 -j ACCEPT",
        (_TCP, model.DestinationPort(Ports.of(15000))),
        model.Accept(),
    ),
    (
        "osm-pod-ip.ip",
        (
            "-d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1500"
            " -j DNAT --to-destination 10.244.0.7"
        ),
        (model.Destination(_LOCALHOST), _LO, _TCP, model.Uid(Ids.of(1500))),
        model.TranslateDestination(_networks("10.244.0.7").ip[0].network_address, None),
    ),
    (
        "consul.ip",
        "-d 127.0.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.1:8600",
        (model.Destination(_LOCALHOST), _UDP, _DNS),
        model.TranslateDestination(_LOCALHOST.ip[0].network_address, 8600),
    ),
    (
        "linkerd.ip",
        (
            "-p tcp -m multiport --dports 4567,4568 -m comment --comment"
            ' "proxy-init/ignore-port-4567,4568" -j RETURN'
        ),
        (_TCP, model.DestinationPort(Ports.of((4567, 4568)))),
        model.Return(),
    ),
    (
        "host.ip",
        '-m limit --limit 3/min -j LOG --log-prefix "[blocked] \\"in\\": " --log-level 7',
        (model.Unreadable("-m limit --limit 3/min"),),
        model.Note('LOG --log-prefix "[blocked] \\"in\\": " --log-level 7'),
    ),
    (
        "host.ip",
        "-p tcp -m tcp --dport 5432 -m iprange --src-range 10.2.0.0-10.2.255.255 -j ACCEPT",
        (_TCP, model.DestinationPort(Ports.of(5432)), model.Source(_networks("10.2.0.0/16"))),
        model.Accept(),
    ),
    (
        "kube-proxy",
        (
            '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule'
            ' in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS'
        ),
        (_LOCAL,),
        model.Jump("KUBE-NODEPORTS"),
    ),
    (
        "host.ip6",
        "-d 2001:db8::9/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::9]:8080",
        (
            model.Destination(_networks("2001:db8::9")),
            _TCP,
            model.DestinationPort(Ports.of(80)),
        ),
        model.TranslateDestination(
            _networks("fd00::9").ip6[0].network_address,
            8080,
        ),
    ),
    (
        "kube-proxy",
        "-j MARK --set-xmark 0x4000/0x0",
        (),
        model.SetMarkBits("MARK --set-xmark 0x4000/0x0", 0x4000, 0),
    ),
    (
        "kube-proxy",
        (
            '-p tcp -m comment --comment "default/web-0:http" -m tcp'
            " -j DNAT --to-destination 10.244.0.3:8080"
        ),
        (_TCP,),
        model.TranslateDestination(
            _networks("10.244.0.3").ip[0].network_address,
            8080,
        ),
    ),
    (
        "docker",
        "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
        (model.Destination(_networks("127.0.0.0/8"), negated=True), _LOCAL),
        model.Jump("DOCKER"),
    ),
    (
        "calico",
        (
            "-o tunl0 -m addrtype ! --src-type LOCAL --limit-iface-out"
            " -m addrtype --src-type LOCAL -j MASQUERADE --random-fully"
        ),
        (
            model.OutInterface(Interfaces(("tunl0",))),
            model.Unreadable("-m addrtype ! --src-type LOCAL --limit-iface-out"),
            model.SourceIsLocal("-m addrtype --src-type LOCAL"),
        ),
        model.TranslateSource("MASQUERADE --random-fully"),
    ),
    (
        "cilium.ip",
        (
            "-m mark --mark 0x200/0xf00 -m comment --comment"
            ' "cilium: NOTRACK for proxy traffic" -j CT --notrack'
        ),
        (model.PacketMark(Marks((Mark(0x200, 0xF00),))),),
        model.NoTrack("CT --notrack"),
    ),
]


@pytest.mark.parametrize(("name", "line", "matches", "action"), _LINES)
def test_a_line_is_read(
    name: str, line: str, matches: tuple[model.Match, ...], action: model.Action
) -> None:
    found = [rule for rule in rules(parsed(name)) if rule.text == line]
    assert found
    assert {(rule.matches, rule.action) for rule in found} == {(matches, action)}


def test_two_meshes_stand_in_the_order_they_came() -> None:
    def calls(name: str) -> list[str | None]:
        output = parsed(name).tables[0].chain("OUTPUT")
        return [rule.target for rule in output.rules] if output else []

    assert calls("stacked-istio-linkerd.ip") == ["ISTIO_OUTPUT", "PROXY_INIT_OUTPUT"]
    assert calls("stacked-linkerd-istio.ip") == ["PROXY_INIT_OUTPUT", "ISTIO_OUTPUT"]


def _read_or_refused(text: str) -> None:
    """Give up a text as no dump, or read it; whatever else happens fails the test."""
    try:
        read = iptables_save.parse(text, Family.IP)
    except ParseError:
        return
    assert isinstance(read, model.Ruleset)


_names = st.sampled_from(sorted(_TEXTS))


@given(_names, st.data())
def test_a_dump_cut_off_anywhere_is_read_or_refused(name: str, data: st.DataObject) -> None:
    text, _ = _TEXTS[name]
    _read_or_refused(text[: data.draw(st.integers(0, len(text)))])


@given(_names, st.data())
def test_a_dump_with_wrong_bytes_is_read_or_refused(name: str, data: st.DataObject) -> None:
    text, _ = _TEXTS[name]
    swapped = bytearray(text.encode())
    places = st.integers(0, len(swapped) - 1)
    for at, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=30)):
        swapped[at] = byte
    _read_or_refused(swapped.decode(errors="replace"))


_odd_words = st.lists(
    st.sampled_from(
        [
            *("!", "-m", "-j", "-g", "-s", "-d", "-p", "-c", "tcp", "addrtype", "--dst-type"),
            *("LOCAL", "iprange", "--src-range", "10.0.0.0-10.0.0.255", "a-b", "owner", "socket"),
            *("--suppl-groups", "DNAT", "--to-destination", "[::]:1", ":80", "MARK", "CONNMARK"),
            *("--set-xmark", "1/2", "--save-mark", "--mask", "CT", "--zone", "--notrack", "LOG"),
            *('""', '"-j"', '"a b"', "ACCEPT", "OUTPUT", "*", ",", "--comment", "comment", "SET"),
        ]
    ),
    max_size=10,
).map(" ".join)


@given(_odd_words)
def test_words_in_any_order_are_read_or_refused(words: str) -> None:
    _read_or_refused(f"*nat\n:OUTPUT ACCEPT [0:0]\n:X - [0:0]\n-A X {words}\nCOMMIT\n")


def test_a_large_cluster_is_read_soon() -> None:
    text = dumps.kube_proxy(2000, 3)
    start = process_time()
    ruleset = iptables_save.parse(text, Family.IP)
    took = process_time() - start
    _, count = ruleset.counts
    assert count > 22_000
    # Ten times what it takes where nothing else runs.
    assert took < 4
