"""A list as people write it: comma-separated; ``*`` is everything."""

from __future__ import annotations

EVERYTHING = "*"


def split(text: str) -> list[str]:
    """Split a comma-separated list; an empty text is the empty list."""
    if not text.strip():
        return []
    items = [item.strip() for item in text.split(",")]
    if "" in items:
        raise ValueError(f"an empty item in {text!r}")
    if EVERYTHING in items and len(items) > 1:
        raise ValueError(f"'*' is everything and stands alone, not in {text!r}")
    return items
