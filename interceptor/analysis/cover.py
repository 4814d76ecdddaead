"""A region of packets as few boxes, as people would describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.analysis.diagram import NO, Box, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interceptor.analysis.diagram import Diagrams

_MOST = 4096
"""Boxes of a region before they are merged."""


class TooManyError(Exception):
    """A region of more boxes than anybody would read."""


def cover(diagrams: Diagrams, region: Node, domain: Node) -> list[Box]:
    """Give boxes that are together a region, widened over one another and over what cannot be.

    Args:
        diagrams: the region's.
        region: the packets.
        domain: the packets there can be; a box may hold others.

    Raises:
        TooManyError: it is too ragged to be told.
    """
    allowed = diagrams.either(region, diagrams.negation(domain))
    left, found = region, list[Box]()
    while left != NO:
        box = _widened(diagrams, diagrams.first(left), allowed, region)
        found.append(box)
        left = diagrams.without(left, diagrams.box(box))
        if len(found) > _MOST:
            raise TooManyError
    return _needed(diagrams, found, region)


def _widened(diagrams: Diagrams, box: Box, allowed: Node, region: Node) -> Box:
    """Take each dimension as wide as it goes: wholly, else by what else the region has there."""
    masks = dict(box)
    for level in sorted(masks):
        tried = {**masks}
        del tried[level]
        inside = _inside(diagrams, tried, allowed)
        if inside is None:
            del masks[level]
            continue
        wide = masks[level]
        for mask in _classes(diagrams, (inside, region), level):
            tried[level] = mask
            if (
                mask & ~wide
                and _inside(diagrams, tried, allowed) is None
                and diagrams.both(region, diagrams.box(tried.items())) != NO
            ):
                wide |= mask
        masks[level] = wide
        if wide == diagrams.full[level]:
            del masks[level]
    return tuple(sorted(masks.items()))


def _inside(diagrams: Diagrams, masks: dict[int, int], allowed: Node) -> Node | None:
    """Give what of a box is not allowed; ``None`` if all of it is."""
    outside = diagrams.without(diagrams.box(masks.items()), allowed)
    return None if outside == NO else outside


def _classes(diagrams: Diagrams, nodes: Iterable[Node], level: int) -> Iterator[int]:
    """Give masks of atoms that functions do not tell apart."""
    full = diagrams.full[level]
    masks = {full}
    for asked in {mask for node in nodes for mask in diagrams.asked_at(node, level)}:
        masks = {m & edge for m in masks for edge in (asked, full & ~asked) if m & edge}
    yield from sorted(masks)


def _needed(diagrams: Diagrams, boxes: list[Box], region: Node) -> list[Box]:
    """Leave out boxes that the others cover, the narrowest first."""
    kept = sorted(boxes, key=len)
    for box in sorted(boxes, key=len, reverse=True):
        others = [one for one in kept if one is not box]
        rest = diagrams.any_of(diagrams.box(one) for one in others)
        if diagrams.without(region, rest) == NO:
            kept = others
    return kept
