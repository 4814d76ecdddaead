"""Which pods are meshed: terms over annotations and labels, as Kubernetes writes selectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INJECT = "interceptor.dev/inject"
"""The annotation or label that asks for it, or with ``false`` forbids it."""

DEFAULT_SELECTOR = (
    f"{INJECT}=true",
    "sidecar.istio.io/status,sidecar.istio.io/inject!=false",
)
"""Pods that ask for it, and those whose sidecar Istio's webhook put in."""

EVERY_POD = "*"


def selects(selector: Sequence[str], marks: Mapping[str, str]) -> bool:
    """Whether a pod with these annotations and labels is meshed.

    Args:
        selector: any of these will do; in each, all terms between commas must hold. A term is
            ``key``, ``!key``, ``key=value`` or ``key!=value``; ``*`` alone is every pod.
        marks: keys and values.

    Raises:
        ConfigError: a term is none of these, also where another would have done.
    """
    # All are read: a slip in the last is told before the pod comes that needs it.
    found = [_holds_all(alternative, marks) for alternative in selector]
    return any(found)


def needs_marks(selector: Sequence[str]) -> bool:
    """Whether annotations have to be known to say which pods are meshed."""
    return EVERY_POD not in selector


def _holds_all(alternative: str, marks: Mapping[str, str]) -> bool:
    if alternative == EVERY_POD:
        return True
    found = [_holds(term.strip(), alternative, marks) for term in alternative.split(",")]
    return all(found)


def _holds(term: str, alternative: str, marks: Mapping[str, str]) -> bool:
    key, is_unequal, value = term.partition("!=")
    is_equal = ""
    if not is_unequal:
        key, is_equal, value = term.replace("==", "=", 1).partition("=")
    key = key.strip()
    is_absent = key.startswith("!") and not (is_equal or is_unequal)
    name = key[1:] if is_absent else key
    if not name or any(c.isspace() or c in "!=*" for c in name):
        raise ConfigError(
            f"selector {alternative!r}: {term!r} is no term",
            hint="write key, !key, key=value or key!=value, several with commas, or * alone",
        )
    if is_unequal:
        return marks.get(name) != value.strip()
    if is_equal:
        return marks.get(name) == value.strip()
    return (name in marks) != is_absent
