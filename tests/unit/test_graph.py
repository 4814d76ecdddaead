"""Pictures of rules: all is there, all is escaped, and what is too much is said to be left out."""

from __future__ import annotations

import re
from html import unescape
from ipaddress import IPv4Address
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptor.model import (
    Accept,
    Base,
    Chain,
    Destination,
    Goto,
    Jump,
    NoTrack,
    Protocol,
    Redirect,
    Reject,
    Return,
    Rule,
    Ruleset,
    SetMarkBits,
    Source,
    Table,
    TranslateDestination,
    TranslateSource,
    Unreadable,
    UnreadableAction,
)
from interceptor.names import ChainType, Family, Hook
from interceptor.render import iptables
from interceptor.render.graph import layout, wires
from interceptor.render.graph.chains import chains
from interceptor.render.graph.dot import dot
from interceptor.render.graph.draw import draw
from interceptor.render.graph.drawing import Drawing, Hop, Limits, Marks, VisitAt
from interceptor.render.graph.measure import width, wrap
from interceptor.render.graph.mermaid import label, mermaid
from interceptor.render.graph.page import page
from interceptor.render.graph.short import clean
from interceptor.render.graph.svg import svg
from interceptor.values import Networks
from tests.properties.strategies import lowered_rulesets
from tests.unit.common import rules

if TYPE_CHECKING:
    from collections.abc import Callable

_OUTPUT = Base(ChainType.NAT, Hook.OUTPUT, -100)
_TCP = (Protocol("tcp"),)
_ODD = "a\"b'c<d>&e]]>\\N{f}|g`h%%{init}#quot;;\n\x00\ud800\u202e--><!-- end é 漢字 😀"

_WRITERS: list[Callable[[Drawing], str]] = [mermaid, dot, svg, page]
_EACH = pytest.mark.parametrize("write", _WRITERS, ids=lambda write: write.__name__)

_PATH = (
    VisitAt(Family.IP, "nat", "OUTPUT", 1),
    VisitAt(Family.IP, "nat", "INTERCEPTOR_OUTBOUND", 4),
    VisitAt(Family.IP, "nat", "INTERCEPTOR_OUT_REDIRECT", 1),
)


def both(ruleset: Ruleset) -> Ruleset:
    """Lower rules as iptables has them: a table a family."""
    return Ruleset(
        tuple(t for f in (Family.IP, Family.IP6) for t in iptables.lower(ruleset, f).tables)
    )


def one(*chains: Chain, family: Family = Family.IP) -> Ruleset:
    return Ruleset((Table(family, "nat", chains),))


def output(*made: Rule) -> Chain:
    return Chain("OUTPUT", made, _OUTPUT)


def plain(text: str) -> str:
    """Give what a picture says, without what breaks its lines or styles it."""
    text = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), text)
    return re.sub(r"\s", "", unescape(re.sub(r"</?[A-Za-z][^>]*>", "", text)))


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


def check_mermaid(text: str) -> None:
    """Check each line against the few forms there are; a label holds nothing of Mermaid's."""
    said = r"\"[^\"`<>{}|\\\[\];&]*\""
    coded = re.sub(r"#\d+;", "", text).replace("<br/>", "")
    front, title, config, closed, kind, *lines = coded.splitlines()
    assert (front, closed, kind) == ("---", "---", "flowchart TB")
    assert config == "config: {flowchart: {wrappingWidth: 420}}"
    assert re.fullmatch(r'title: "(?:[^"\\]|\\U[0-9a-f]{8})*"', title)
    forms = re.compile(
        rf"(?:subgraph \w+\[{said}\]|end|\w+\[{said}\]|\w+\(\[{said}\]\)"
        rf"|\w+ (?:-->|-\.->|==>)\|{said}\| \w+|acc(?:Title|Descr): [^\";#]+"
        r"|class [\w,]+ \w+|classDef \w+ [\w:#.,-]+|linkStyle [\d,]+ [\w:#.,-]+)"
    )
    for line in lines:
        assert forms.fullmatch(line.strip()), line
    opened = sum(line.strip().startswith("subgraph") for line in lines)
    assert opened == sum(line.strip() == "end" for line in lines)
    assert len(text) <= 50_000
    assert len(re.findall(r"\| \w+$", text, re.MULTILINE)) <= 500


def check_dot(text: str) -> None:
    """Check that strings, HTML labels and braces end, and that those labels are XML."""
    for found in re.findall(r"label=<(.*)>\];$", text, re.MULTILINE):
        ET.fromstring(found)  # noqa: S314 - we wrote it
    left = re.sub(r"label=<.*>\];$", "];", text, flags=re.MULTILINE)
    left = re.sub(r'"(?:[^"\\]|\\.)*"', "s", left, flags=re.DOTALL)
    assert '"' not in left
    assert left.count("{") == left.count("}")
    assert left.count("[") == left.count("]")
    assert re.fullmatch(r"[\w\s{}\[\]=,;:>-]*", left)


def check(drawing: Drawing) -> None:
    """Check that what all writers make of a drawing can be read."""
    check_mermaid(mermaid(drawing))
    check_dot(dot(drawing))
    for stacked in (False, True):
        ET.fromstring(svg(drawing, stacked=stacked))  # noqa: S314 - we wrote it
    made = page(drawing)
    assert made.encode()
    for picture in re.findall(r"<svg.*?</svg>", made, re.DOTALL):
        ET.fromstring(picture)  # noqa: S314 - we wrote it


@_EACH
@pytest.mark.parametrize("sheet", ["sidecar", "istio"])
def test_all_chains_rules_and_reasons_are_there(
    write: Callable[[Drawing], str], sheet: str
) -> None:
    drawn = rules(sheet, mode="tproxy", capture_dns="all")
    said = plain(write(draw(drawn)))
    for table in drawn.tables:
        assert bare(f"table {table.name}") in said
        for chain in table.chains:
            assert chain.name in said
            for rule in chain.rules:
                assert bare(rule.why) in said
                assert not rule.target or bare(rule.target) in said
    assert "proxy:15006" in said
    assert "proxy:15001" in said


def test_each_jump_is_an_arrow() -> None:
    drawn = rules()
    drawing = draw(drawn)
    arrows = [arrow for group in drawing.groups for arrow in group.arrows]
    calls = [r for t in drawn.tables for c in t.chains for r in c.rules if r.target]
    redirects = [
        r
        for t in drawn.tables
        for c in t.chains
        for r in c.rules
        if isinstance(r.action, Redirect)
    ]
    assert len(arrows) == len(calls) + len(redirects)
    flow, graph = mermaid(drawing), dot(drawing)
    for arrow in arrows:
        assert re.search(
            rf'{arrow.source} \S+\|"rule {arrow.number}"\| {arrow.target}$', flow, re.MULTILINE
        )
        assert re.search(rf"{arrow.source}:r{arrow.number} -> {arrow.target}(:h)? \[", graph)
    [group] = drawing.groups
    for stacked in (False, True):
        drawn_as = chains(group, fades=False, stacked=stacked).body
        assert drawn_as.count('class="wire w-') == len(arrows)


def test_families_that_say_the_same_are_drawn_once() -> None:
    drawing = draw(both(rules()))
    [group] = drawing.groups
    assert group.families == "IPv4 and IPv6"
    said = {line.matches for box in group.boxes for line in box.lines}
    assert "from 127.0.0.6,::6 · out by lo" in said
    assert "not to 127.0.0.1,::1 · out by lo" in said


@pytest.mark.parametrize(
    "other",
    [
        Rule(_TCP, Return(), "why"),
        Rule(_TCP, Accept(), "another"),
        Rule((), Accept(), "why"),
        Rule((Protocol("udp"),), Accept(), "why"),
        Rule((*_TCP, Source(Networks.parse("::6"))), Accept(), "why"),
    ],
)
def test_families_that_differ_are_drawn_apart(other: Rule) -> None:
    mine = one(output(Rule(_TCP, Accept(), "why")))
    theirs = one(output(other), family=Family.IP6)
    drawing = draw(Ruleset(mine.tables + theirs.tables))
    assert [group.families for group in drawing.groups] == ["IPv4", "IPv6"]
    assert draw(Ruleset(theirs.tables + mine.tables)).groups


def test_a_match_of_two_families_keeps_its_sense() -> None:
    def of(family: Family, address: str, *, negated: bool) -> Table:
        match = Destination(Networks.parse(address), negated=negated)
        return Table(family, "nat", (output(Rule((match,), Return())),))

    tables = (of(Family.IP, "10.0.0.1", negated=True), of(Family.IP6, "::1", negated=False))
    assert len(draw(Ruleset(tables)).groups) == 2


@_EACH
def test_a_path_is_marked_and_numbered(write: Callable[[Drawing], str]) -> None:
    drawing = draw(both(rules()), Marks("Out", _PATH))
    lit = {box.name for group in drawing.groups for box in group.boxes if box.on_path}
    assert lit == {"OUTPUT", "INTERCEPTOR_OUTBOUND", "INTERCEPTOR_OUT_REDIRECT"}
    assert [end.on_path for group in drawing.groups for end in group.ends] == [False, True]
    assert sum(arrow.on_path for group in drawing.groups for arrow in group.arrows) == 3
    made, without = write(drawing), write(draw(both(rules()), Marks("Out")))
    names = {"mermaid": "linkStyle", "dot": "penwidth=3"}
    mark = names.get(write.__name__, 'class="badge"')
    assert mark in made
    assert mark not in without


def test_what_is_not_on_the_path_is_faded() -> None:
    made = svg(draw(rules(), Marks(path=_PATH)))
    assert len(re.findall(r'class="box[a-z ]* off"', made)) == 4
    assert len(re.findall(r'class="box[a-z ]* on"', made)) == 3
    assert " off" not in svg(draw(rules()))


def test_a_path_is_found_in_either_family() -> None:
    for family in Family:
        visit = VisitAt(family, "nat", "OUTPUT", 1)
        for drawn in (rules(), both(rules())):
            assert draw(drawn, Marks(path=(visit,))).groups[0].on_path


def test_a_path_elsewhere_is_said() -> None:
    path = (VisitAt(Family.IP, "nat", "NOWHERE", 1), VisitAt(Family.IP, "nat", "OUTPUT", 99))
    drawing = draw(rules(), Marks(path=path))
    assert drawing.notes == ("2 steps of the path at no rule here",)
    check(drawing)


@_EACH
def test_counters_stand_beside_their_rules(write: Callable[[Drawing], str]) -> None:
    counters = {
        (Family.IP, "nat", "OUTPUT", 1): (12345, 1),
        (Family.IP6, "nat", "OUTPUT", 1): (1, 2),
    }
    said = plain(write(draw(both(rules()), Marks(counters=counters))))
    assert bare("IPv4 12,345 packets · IPv6 1 packet") in said
    alone = write(draw(iptables.lower(rules(), Family.IP), Marks(counters=counters)))
    assert "12345packets" in plain(alone).replace(",", "")
    assert "IPv412" not in plain(alone)


@_EACH
def test_a_journey_is_told_hop_by_hop(write: Callable[[Drawing], str]) -> None:
    hops = (
        Hop("app", "proxy", "redirect to 15001", "outbound tcp"),
        Hop("proxy", "outside", "direct", "made by the proxy: its user"),
        Hop("app", "app", "itself"),
    )
    drawing = draw(rules(), Marks("A call", hops=hops))
    said = plain(write(drawing))
    for text in ("A call", "app", "outside", "redirect to 15001", "made by the proxy: its user"):
        assert bare(text) in said
    check(drawing)


def test_hooks_are_in_the_order_a_packet_meets_them() -> None:
    drawing = draw(rules(mode="tproxy", capture_dns="all"))
    assert [group.name for group in drawing.groups] == ["raw", "mangle", "nat"]
    assert drawing.order[-1] == (
        "output: raw OUTPUT (-300, IPv4 and IPv6) → mangle OUTPUT (-150, IPv4 and IPv6)"
        " → nat OUTPUT (-100, IPv4 and IPv6)"
    )
    assert drawing.groups[2].boxes[0].place == "chain 3 of 3 at this hook"


@_EACH
def test_equal_input_gives_equal_bytes(write: Callable[[Drawing], str]) -> None:
    marks = Marks("Out", _PATH, {(Family.IP, "nat", "OUTPUT", 1): (1, 2)})
    made = {write(draw(both(rules(capture_dns="all")), marks)) for _ in range(3)}
    assert len(made) == 1


@_EACH
def test_nothing_is_asked_for(write: Callable[[Drawing], str]) -> None:
    made = write(draw(rules()))
    assert set(re.findall(r"https?://[^\"]*", made)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"url\((?!#)|@import|<script|<link|<img|xlink", made)


@pytest.mark.parametrize(
    "action",
    [
        UnreadableAction(_ODD),
        Reject(_ODD),
        NoTrack(_ODD),
        TranslateSource(_ODD),
        SetMarkBits(_ODD, 1, 1),
        TranslateDestination(IPv4Address("10.0.0.1"), 80),
        TranslateDestination(None, None),
        Jump(_ODD),
        Goto(""),
    ],
    ids=lambda action: type(action).__name__,
)
def test_any_text_is_escaped(action: Accept) -> None:
    rule = Rule((Unreadable(_ODD, negated=True), Protocol(_ODD)), action, _ODD, _ODD, _ODD)
    hop = Hop(_ODD, "1. x", _ODD, _ODD)
    odd = Ruleset((Table(Family.IP, _ODD, (output(rule), Chain(_ODD, (rule,))), (_ODD,)),))
    path = (VisitAt(Family.IP, _ODD, "OUTPUT", 1),)
    drawing = draw(odd, Marks(_ODD, path, hops=(hop, Hop("", "", ""))))
    check(drawing)
    for write in _WRITERS:
        assert (
            "a&quot;b" in write(drawing) or 'a\\"b' in write(drawing) or "a#34;b" in write(drawing)
        )
        assert "\\ud800" in plain(write(drawing)).replace("\\\\", "\\")


def test_mermaid_keeps_names_and_codes_the_rest() -> None:
    assert label("INTERCEPTOR_OUT _x_") == "INTERCEPTOR_OUT #95;x#95;"
    assert label('"#`<b>') == "#34;#35;#96;#60;b#62;"


def test_calls_for_ever_and_to_nowhere_do_not_stop_it() -> None:
    looped = one(
        output(Rule(action=Jump("A"))),
        Chain("A", (Rule(action=Jump("B")), Rule(action=Goto("A")))),
        Chain("B", (Rule(action=Goto("A")), Rule(action=Jump("GONE")))),
        Chain("B", (Rule(action=Jump("OUTPUT")),)),
    )
    drawing = draw(looped)
    assert "A calls itself: no arrow in the picture" in drawing.notes
    assert "B calls A back: no arrow in the picture" in drawing.notes
    assert [end.label for end in drawing.groups[0].ends] == ["no chain GONE"]
    check(drawing)
    assert mermaid(drawing).count("| c") == 5


@pytest.mark.parametrize("empty", [Ruleset(), one(), one(output()), one(Chain("A"))])
def test_nothing_can_be_drawn_too(empty: Ruleset) -> None:
    check(draw(empty))


def test_a_long_chain_shows_its_first_rules_and_the_path() -> None:
    long = one(output(*(Rule(_TCP, Return(), f"number {n}") for n in range(1, 20_001))))
    path = (VisitAt(Family.IP, "nat", "OUTPUT", 10_020),)
    drawing = draw(long, Marks(path=path), Limits(rules=20))
    [box] = drawing.groups[0].boxes
    assert [line.number for line in box.lines] == [*range(1, 21), 10_020]
    assert (box.lines[-1].skipped, box.more) == (9_999, 9_980)
    assert drawing.notes == ("19,979 rules of long chains left out: … stands for them",)
    for write in _WRITERS:
        assert bare("… 9,980 more") in plain(write(drawing))
        assert "19,979rules" in plain(write(drawing))


def test_of_many_chains_those_on_the_path_and_at_hooks_are_drawn() -> None:
    many = [
        Chain(f"C{n}", (Rule(_TCP, Jump(f"C{n + 1}"), f"to {n + 1}"),) if n < 8999 else ())
        for n in range(9000)
    ]
    jumps = [Rule(_TCP, Jump(f"C{n}")) for n in range(0, 9000, 2)]
    path = (VisitAt(Family.IP, "nat", "C8000", 1),)
    drawing = draw(one(*many, output(*jumps)), Marks(path=path))
    names = {box.name for group in drawing.groups for box in group.boxes}
    assert len(names) == 400
    assert {"OUTPUT", "C8000", "C8001"} <= names
    assert drawing.notes[0].startswith("8,601 chains left out: C")
    check(drawing)


def test_boxes_do_not_touch_and_lines_go_around_them() -> None:
    nodes = [layout.Node(f"b{n}", 300, 60 + n * 7, n < 2) for n in range(30)]
    links = [
        layout.Link(f"b{a}", f"b{b}", 20 + b)
        for a in range(30)
        for b in (a + 1, a * 2, a * 3 + 5)
        if a < b < 30
    ]
    for stacked in (False, True):
        made = wires.plan(nodes, links, 1200, stacked=stacked)
        spots = [(*made.spots[node.id], node.width, node.height) for node in nodes]
        for at, (x, y, wide, high) in enumerate(spots):
            for left, top, other, tall in spots[:at]:
                assert x + wide <= left or left + other <= x or y + high <= top or top + tall <= y
        for points in made.wires:
            for (x1, y1), (x2, y2) in pairwise(points):
                assert x1 == x2 or y1 == y2
                for x, y, wide, high in spots:
                    assert (
                        max(x1, x2) <= x
                        or min(x1, x2) >= x + wide
                        or max(y1, y2) <= y
                        or min(y1, y2) >= y + high
                    )


@given(st.text(max_size=80), st.floats(30, 300))
def test_texts_are_broken_where_they_are_too_long(text: str, room: float) -> None:
    text = clean(text)
    lines = wrap(text, room, 12)
    assert bare("".join(lines)) == bare(text)
    assert all(width(line, 12) <= room or len(line) == 1 for line in lines)


@given(lowered_rulesets(), st.text(max_size=40), st.data())
def test_any_rules_can_be_drawn(ruleset: Ruleset, odd: str, data: st.DataObject) -> None:
    tables = tuple(
        msgspec.structs.replace(
            table,
            chains=tuple(
                msgspec.structs.replace(
                    chain,
                    rules=tuple(msgspec.structs.replace(r, why=r.why + odd) for r in chain.rules),
                )
                for chain in table.chains
            ),
        )
        for table in ruleset.tables
    )
    places = [(t, c.name, n) for t in tables for c in t.chains for n in range(1, len(c.rules) + 1)]
    visits = st.sampled_from(places).map(lambda at: VisitAt(at[0].family, "nat", at[1], at[2]))
    path = tuple(data.draw(st.lists(visits, max_size=5))) if places else ()
    counters = {(t.family, "nat", c, n): (n, n) for t, c, n in places[::2]}
    check(draw(Ruleset(tables), Marks(odd, path, counters, (Hop(odd, "b", odd, odd),))))
