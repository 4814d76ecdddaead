"""What was found to intercept: meshes, and hand-overs that no sheet makes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.analysis.compare import Change
    from interceptor.backends.drift import Finding
    from interceptor.model import Routing, Table
    from interceptor.names import Family


class Verdict(StrEnum):
    """How well live rules go with a sheet."""

    SAME = "in-sync"
    """They are the sheet's, rule for rule."""
    ALIKE = "behaves-as"
    """No packet fares otherwise, but they are other rules."""
    DRIFTED = "drifted"
    """Some packets fare otherwise."""


class Layer(msgspec.Struct, frozen=True):
    """What one kernel language holds, records too.

    ``name`` is what people call it, ``language`` what rules are lowered to for it; ``is_whole`` is
    whether a table that is not here is not there either.
    """

    name: str
    language: str
    tables: tuple[Table, ...]
    is_whole: bool = True


class Found(msgspec.Struct, frozen=True):
    """One mesh.

    Args:
        sheet: the dialect that comes nearest.
        summary: the sheet's own words.
        verdict: how near.
        backend: the kernel language, as people know it.
        families: in which it intercepts.
        settings: what is not the sheet's default.
        findings: each difference, in the words of ``status``.
        noted: rules of others that decide about some connections first.
        changes: traffic that fares otherwise under the sheet's own rules.
        renamed: the sheet's names of chains that are called otherwise, with those names.
        also: other sheets of which these are the rules as well.
        recorded: the version that recorded the installation; "" if nobody did.
        record: settings it recorded, where the rules have others.
        rules: how many there are of it.
        routing: the addresses and routes that it needs.
        path: of the sheet's file, if it is a user's.
    """

    sheet: str
    summary: str
    verdict: Verdict
    backend: str
    families: tuple[Family, ...]
    settings: Mapping[str, str] = {}
    findings: tuple[Finding, ...] = ()
    noted: tuple[Finding, ...] = ()
    changes: tuple[Change, ...] = ()
    renamed: Mapping[str, str] = {}
    also: tuple[str, ...] = ()
    recorded: str = ""
    record: Mapping[str, str] = {}
    rules: int = 0
    routing: tuple[Routing, ...] = ()
    path: str = ""


class Unknown(msgspec.Struct, frozen=True):
    """A rule that hands connections over, and belongs to no mesh that is known."""

    where: str
    what: str


class Detected(msgspec.Struct, frozen=True):
    """All that intercepts; ``unseen`` is what could not be looked at, and why."""

    found: tuple[Found, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def is_in_sync(self) -> bool:
        """Whether there is a mesh, and all there is of any is as its sheet has it.

        What is unknown may be anybody's: a rule that sends one port elsewhere is no mesh.
        """
        return (
            bool(self.found)
            and not self.unseen
            and all(one.verdict is not Verdict.DRIFTED for one in self.found)
        )
