"""The ids of users and groups by name, as this host knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def user_ids(names: Iterable[str]) -> dict[str, int]:
    """Give the ids of those names that are users here."""
    import pwd

    ids = {}
    for name in names:
        try:
            ids[name] = pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return ids


def has_user(uid: int) -> bool:
    """Whether a user of this id is known here."""
    import pwd

    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def group_ids(names: Iterable[str]) -> dict[str, int]:
    """Give the ids of those names that are groups here."""
    import grp

    ids = {}
    for name in names:
        try:
            ids[name] = grp.getgrnam(name).gr_gid
        except KeyError:
            continue
    return ids
