"""Decision diagrams: functions of a packet, exactly, each in one form only.

A packet is a value in each of several dimensions (``space.Space``). What rules ask of a dimension
cuts its values into atoms, so a set of its values is a bit mask of atoms. A function of packets is
a node: either an answer, or a question about one dimension, with a mask of atoms for each node to
go on with. Dimensions are asked in one order, equal nodes are the same node, and a question with
one answer is left out; so two functions are equal if and only if they are the same node.

After Gouda and Liu, "Structured firewall design" (Computer Networks 51, 2007), with atoms for
intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

Node = int
"""A function: its number among a ``Diagrams``'s."""

Edges = tuple[tuple[int, Node], ...]
"""Masks of atoms, none shared, and where they lead."""

NO, YES = 0, 1
"""The functions that are false, and true, of every packet."""

_BOTTOM = 1 << 30
"""The level of an answer: below every question."""

_CHECKED = 64
"""Nodes between two calls of ``check``; where there are thousands of atoms, one takes a while."""

Box = tuple[tuple[int, int], ...]
"""Packets by a mask of atoms in some dimensions, in order; in the others anything."""


class Diagrams:
    """All nodes over one space.

    Args:
        sizes: how many atoms each dimension has.
        check: called now and then while functions are made; it may raise, to end it.
    """

    def __init__(self, sizes: Iterable[int], check: Callable[[], object] | None = None) -> None:
        self._check = check
        self.full = [(1 << size) - 1 for size in sizes]
        self._levels: list[int] = [_BOTTOM, _BOTTOM]
        self._edges: list[Edges] = [(), ()]
        self._answers: dict[Node, Hashable] = {NO: False, YES: True}
        self._nodes: dict[object, Node] = {("answer", False): NO, ("answer", True): YES}
        self._picked: dict[tuple[Node, Node, Node], Node] = {}

    def answer(self, value: Hashable) -> Node:
        """Give the function that has one answer for every packet."""
        if value is True or value is False:
            return YES if value else NO
        key = ("answer", value)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = self._new(_BOTTOM, ())
            self._answers[node] = value
        return node

    def value(self, node: Node) -> Hashable:
        """Give the answer of a node that asks nothing more; ``KeyError`` for a question."""
        return self._answers[node]

    def box(self, box: Iterable[tuple[int, int]]) -> Node:
        """Give the function that is true of a box."""
        node = YES
        masks = sorted(box, reverse=True)
        if any(not mask for _, mask in masks):
            return NO
        for level, mask in masks:
            node = self._node(level, {node: mask, NO: self.full[level] & ~mask})
        return node

    def pick(self, condition: Node, then: Node, other: Node) -> Node:
        """Give ``then`` where the condition is true, and ``other`` where it is not."""
        if condition == YES or then == other:
            return then
        if condition == NO:
            return other
        if then == YES and other == NO:
            return condition
        key = condition, then, other
        node = self._picked.get(key)
        if node is None:
            level = min(self._levels[condition], self._levels[then], self._levels[other])
            edges: dict[Node, int] = {}
            for first, asked in self._at(condition, level):
                for second, yes in self._at(then, level) if asked != NO else ((first, NO),):
                    both = first & second
                    if not both:
                        continue
                    for third, no in self._at(other, level) if asked != YES else ((both, NO),):
                        mask = both & third
                        if mask:
                            found = self.pick(asked, yes, no)
                            edges[found] = edges.get(found, 0) | mask
            node = self._picked[key] = self._node(level, edges)
        return node

    def both(self, one: Node, other: Node) -> Node:
        """Give the function that is true where both are."""
        return self.pick(one, other, NO)

    def either(self, one: Node, other: Node) -> Node:
        """Give the function that is true where one of two is."""
        return self.pick(one, YES, other)

    def negation(self, node: Node) -> Node:
        """Give the function that is true where this one is not."""
        return self.pick(node, NO, YES)

    def without(self, one: Node, other: Node) -> Node:
        """Give the function that is true where the first is and the second is not."""
        return self.pick(other, NO, one)

    def any_of(self, nodes: Iterable[Node]) -> Node:
        """Give the function that is true where one of them is."""
        found = NO
        for node in nodes:
            found = self.either(found, node)
        return found

    def all_of(self, nodes: Iterable[Node]) -> Node:
        """Give the function that is true where all of them are."""
        found = YES
        for node in nodes:
            found = self.both(found, node)
        return found

    def mapped(self, node: Node, change: Callable[[Hashable], Hashable]) -> Node:
        """Give the function with each answer changed."""
        known: dict[Node, Node] = {}

        def leaf(answer: Node) -> Node:
            return self.answer(change(self._answers[answer]))

        return self._rebuilt(node, known, leaf)

    def where(self, node: Node, wanted: Callable[[Hashable], bool]) -> Node:
        """Give the function that is true where the answer is a wanted one."""
        return self.mapped(node, wanted)

    def joined(
        self, one: Node, other: Node, join: Callable[[Hashable, Hashable], Hashable]
    ) -> Node:
        """Give the function whose answer is made of two functions' answers."""
        known: dict[tuple[Node, Node], Node] = {}

        def walk(a: Node, b: Node) -> Node:
            found = known.get((a, b))
            if found is None:
                level = min(self._levels[a], self._levels[b])
                if level == _BOTTOM:
                    found = self.answer(join(self._answers[a], self._answers[b]))
                else:
                    edges: dict[Node, int] = {}
                    for first, left in self._at(a, level):
                        for second, right in self._at(b, level):
                            if first & second:
                                to = walk(left, right)
                                edges[to] = edges.get(to, 0) | first & second
                    found = self._node(level, edges)
                known[a, b] = found
            return found

        return walk(one, other)

    def given(self, node: Node, atoms: dict[int, int]) -> Node:
        """Give the function of a packet whose value in some dimensions is this atom's instead."""
        known: dict[Node, Node] = {}

        def walk(at: Node) -> Node:
            if self._levels[at] == _BOTTOM:
                return at
            found = known.get(at)
            if found is None:
                level = self._levels[at]
                atom = atoms.get(level)
                if atom is None:
                    edges: dict[Node, int] = {}
                    for mask, child in self._edges[at]:
                        to = walk(child)
                        edges[to] = edges.get(to, 0) | mask
                    found = self._node(level, edges)
                else:
                    (to,) = (child for mask, child in self._edges[at] if mask >> atom & 1)
                    found = walk(to)
                known[at] = found
            return found

        return walk(node)

    def moved(self, node: Node, level: int, image: list[int]) -> Node:
        """Give the function of a packet whose atom in one dimension is ``image[atom]`` instead."""

        def preimage(mask: int) -> int:
            return sum(1 << atom for atom, to in enumerate(image) if mask >> to & 1)

        known: dict[Node, Node] = {}

        def walk(at: Node) -> Node:
            if self._levels[at] > level:
                return at
            found = known.get(at)
            if found is None:
                edges: dict[Node, int] = {}
                here = self._levels[at]
                for mask, child in self._edges[at]:
                    moved = preimage(mask) if here == level else mask
                    to = walk(child)
                    if moved:
                        edges[to] = edges.get(to, 0) | moved
                found = known[at] = self._node(here, edges)
            return found

        return walk(node)

    def anywhere(self, node: Node, levels: Iterable[int]) -> Node:
        """Give the function that is true where some values in these dimensions make it so."""
        for level in levels:
            found = NO
            for atom in self.atoms_asked(node, level):
                found = self.either(found, self.given(node, {level: atom}))
            node = found
        return node

    def atoms_asked(self, node: Node, level: int) -> list[int]:
        """Give one atom for each class of atoms that a node does not tell apart."""
        masks = {self.full[level]}
        for at in self._below(node):
            if self._levels[at] == level and len(masks) < self.full[level].bit_length():
                masks = {m & edge for m in masks for edge, _ in self._edges[at] if m & edge}
        return [lowest(mask) for mask in masks]

    def asked_at(self, node: Node, level: int) -> set[int]:
        """Give the masks of one dimension that a function looks at."""
        return {
            mask
            for at in self._below(node)
            if self._levels[at] == level
            for mask, _ in self._edges[at]
        }

    def _below(self, node: Node) -> set[Node]:
        seen: set[Node] = set()
        pending = [node]
        while pending:
            at = pending.pop()
            if at not in seen:
                seen.add(at)
                pending += [child for _, child in self._edges[at]]
        return seen

    def answers(self, node: Node) -> set[Hashable]:
        """Give all answers there are."""
        return {self._answers[at] for at in self._below(node) if at in self._answers}

    def at(self, node: Node, atoms: list[int]) -> Hashable:
        """Give the answer for one packet, by its atom in each dimension."""
        while self._levels[node] != _BOTTOM:
            atom = atoms[self._levels[node]]
            (node,) = (child for mask, child in self._edges[node] if mask >> atom & 1)
        return self._answers[node]

    def boxes(self, node: Node) -> Iterator[Box]:
        """Give boxes, none sharing a packet, that are together where a function is true."""
        if node == YES:
            yield ()
        elif node != NO:
            for mask, child in self._edges[node]:
                for box in self.boxes(child):
                    yield ((self._levels[node], mask), *box)

    def first(self, node: Node) -> Box:
        """Give one box of where a function is true; ``ValueError`` if it nowhere is."""
        for box in self.boxes(node):
            return box
        raise ValueError("it is nowhere true")

    def __len__(self) -> int:
        return len(self._levels)

    def _at(self, node: Node, level: int) -> Edges:
        """Give where atoms of one dimension lead; all to the node itself if it does not ask."""
        return self._edges[node] if self._levels[node] == level else ((self.full[level], node),)

    def _node(self, level: int, edges: dict[Node, int]) -> Node:
        if 0 in edges.values():
            edges = {to: mask for to, mask in edges.items() if mask}
        if len(edges) == 1:
            return next(iter(edges))
        key = level, frozenset(edges.items())
        node = self._nodes.get(key)
        if node is None:
            made = tuple((mask, to) for to, mask in edges.items())
            node = self._nodes[key] = self._new(level, made)
        return node

    def _new(self, level: int, edges: Edges) -> Node:
        if self._check is not None and not len(self._levels) % _CHECKED:
            self._check()
        self._levels.append(level)
        self._edges.append(edges)
        return len(self._levels) - 1

    def _rebuilt(self, node: Node, known: dict[Node, Node], leaf: Callable[[Node], Node]) -> Node:
        found = known.get(node)
        if found is None:
            if self._levels[node] == _BOTTOM:
                found = leaf(node)
            else:
                edges: dict[Node, int] = {}
                for mask, child in self._edges[node]:
                    to = self._rebuilt(child, known, leaf)
                    edges[to] = edges.get(to, 0) | mask
                found = self._node(self._levels[node], edges)
            known[node] = found
        return found


def lowest(mask: int) -> int:
    """Give the number of the lowest bit that is set."""
    return (mask & -mask).bit_length() - 1
