"""Dimensions cut into atoms, and functions over them."""

from __future__ import annotations

import pytest

from interceptor.analysis.diagram import NO, YES, Diagrams
from interceptor.analysis.partition import Bits, InterfaceNames, Numbers, Words
from interceptor.values import Interfaces


def test_numbers_are_cut_where_sets_end() -> None:
    low, high, both = ((0, 9),), ((5, 20),), ((0, 3), (30, 40))
    part = Numbers(0, 99, [low, high, both, low])
    assert part.ranges(part.mask(low)) == [(0, 9)]
    assert part.ranges(part.mask(high)) == [(5, 20)]
    assert part.ranges(part.mask(both)) == [(0, 3), (30, 40)]
    assert part.ranges(part.mask(low) & part.mask(high)) == [(5, 9)]
    assert part.ranges((1 << part.size) - 1) == [(0, 99)]
    assert part.atom(30) != part.atom(2), "another set tells them apart"
    assert part.atom(31) == part.atom(40)
    assert part.witness(part.mask(high)) in (5, 9, 10, 20)
    assert part.ranges(1 << part.plainest()) == [(21, 29), (41, 99)]


def test_nothing_asked_is_one_atom() -> None:
    assert Numbers(0, 99).size == Bits([]).size == 1
    assert Words([], "other").size == 1


def test_ten_thousand_networks_in_one_set_are_two_atoms() -> None:
    many = tuple((n * 10, n * 10 + 4) for n in range(10_000))
    assert Numbers(0, 2**32 - 1, [many]).size == 2


def test_interfaces_are_cut_by_names_and_beginnings() -> None:
    sets = [Interfaces(("veth+",)), Interfaces(("veth1",)), Interfaces(("eth0",))]
    part = InterfaceNames(sets, ("lo",))
    veth, one, eth0 = map(part.mask, sets)
    assert one & veth == one
    assert not eth0 & veth
    assert part.atom("veth7") == part.atom("vethx")
    assert part.atom("veth1") != part.atom("veth7")
    assert part.atom("docker0") == part.atom("br0") != part.atom("lo") != part.atom("")
    assert part.words(veth) == ["veth1", "veth+"]
    assert part.words(1 << part.atom("br0")) == ["any other"]


def test_marks_are_cut_by_values_and_masks() -> None:
    asked = [(1, 1), (0x500, 0xF00), (0x539, 0xFFFFFFFF)]
    part = Bits(asked)
    for value in (0, 1, 0x500, 0x501, 0x539, 0x538, 0xFFFFFFFF):
        atom = 1 << part.atom(value)
        for wanted, mask in asked:
            assert bool(part.mask(wanted, mask) & atom) is (value & mask == wanted), value
    assert part.size == 5
    assert part.witness(part.mask(0x539, 0xFFFFFFFF)) == 0x539


@pytest.fixture
def diagrams() -> Diagrams:
    return Diagrams([4, 4])


def test_equal_functions_are_one_node(diagrams: Diagrams) -> None:
    left, right = diagrams.box([(0, 0b0011)]), diagrams.box([(1, 0b0101)])
    both = diagrams.both(left, right)
    assert both == diagrams.box([(0, 0b0011), (1, 0b0101)]) == diagrams.both(right, left)
    assert diagrams.negation(diagrams.negation(both)) == both
    de_morgan = diagrams.either(diagrams.negation(left), diagrams.negation(right))
    assert diagrams.negation(both) == de_morgan
    assert diagrams.either(both, diagrams.negation(both)) == YES
    assert diagrams.without(both, left) == NO
    assert diagrams.box([(0, 0), (1, 0b1)]) == NO
    assert diagrams.box([(0, 0b1111)]) == YES


def test_a_function_of_another_value(diagrams: Diagrams) -> None:
    one = diagrams.box([(0, 0b0010), (1, 0b0100)])
    assert diagrams.given(one, {0: 1}) == diagrams.box([(1, 0b0100)])
    assert diagrams.given(one, {0: 0}) == NO
    assert diagrams.moved(one, 0, [1, 1, 1, 0]) == diagrams.box([(0, 0b0111), (1, 0b0100)])
    assert diagrams.anywhere(one, (0,)) == diagrams.box([(1, 0b0100)])
    assert diagrams.anywhere(one, (0, 1)) == YES


def test_boxes_share_nothing_and_are_all(diagrams: Diagrams) -> None:
    node = diagrams.either(diagrams.box([(0, 0b0011)]), diagrams.box([(1, 0b1000)]))
    boxes = [diagrams.box(box) for box in diagrams.boxes(node)]
    assert diagrams.any_of(boxes) == node
    for number, box in enumerate(boxes):
        assert all(diagrams.both(box, other) == NO for other in boxes[number + 1 :])


def test_making_nodes_can_be_ended() -> None:
    class OverError(Exception):
        pass

    def check() -> None:
        raise OverError

    diagrams = Diagrams([64, 64], check)
    boxes = ([(0, 1 << atom), (1, 1 << atom)] for atom in range(64))
    with pytest.raises(OverError):
        diagrams.any_of(map(diagrams.box, boxes))
