"""The one kernel parameter that a mesh's init sets: how long conntrack keeps CLOSE_WAIT."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from interceptor.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "net.netfilter.nf_conntrack_tcp_timeout_close_wait"
_PATH = f"/proc/sys/{NAME.replace('.', '/')}"


@contextmanager
def close_wait(seconds: int) -> Iterator[None]:
    """Set it for the namespace this thread is in, and set it back if what is done then fails.

    A kernel that has no conntrack yet has no such parameter either; it is set afterwards then,
    when rules have brought it. 0 leaves it alone.

    Raises:
        HostError: it cannot be set.
    """
    if not seconds:
        yield
        return
    before = _read()
    if before:
        _write(str(seconds))
    try:
        yield
    except BaseException:
        if before:
            _write(before)
        raise
    if not before:
        _write(str(seconds))


def _read() -> str:
    try:
        with open(_PATH, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _write(text: str) -> None:
    try:
        with open(_PATH, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise HostError(
            f"{NAME} cannot be set to {text}: {error.strerror}",
            hint="run this where /proc/sys can be written, as in a privileged container, "
            "or leave --timeout-close-wait-secs out",
        ) from None
