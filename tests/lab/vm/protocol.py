"""What a machine says on its second serial port: a line of JSON for each thing that happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Outcome = Literal["passed", "failed", "skipped"]


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The suite starts there; ``tools`` are the kernel tools' versions by name."""

    release: str
    tools: dict[str, str]


class Collected(msgspec.Struct, frozen=True, tag=True):
    """So many tests will run."""

    tests: int


class Ran(msgspec.Struct, frozen=True, tag=True):
    """A test ended, or what it cleans up went wrong; ``why`` it failed."""

    test: str
    outcome: Outcome
    seconds: float
    why: str = ""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The suite ended with pytest's exit code."""

    status: int


Message = Begun | Collected | Ran | Ended

_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """Write a line."""
    return msgspec.json.encode(message) + b"\n"


def decode(data: bytes) -> tuple[Message, ...]:
    """Read what came so far; a line that has not come to its end is not read yet.

    Raises:
        ValueError: a line is none of ours.
    """
    whole = data.rpartition(b"\n")[0]
    return tuple(_decoded(whole.replace(b"\r", b"").splitlines()))


def _decoded(lines: Iterable[bytes]) -> Iterable[Message]:
    for line in lines:
        if line:
            try:
                yield _DECODER.decode(line)
            except msgspec.MsgspecError as error:
                shown = line[:80].decode(errors="replace")
                raise ValueError(f"not a line of the protocol ({error}): {shown}") from None
