"""Answers to netlink questions that are not what a kernel at rest gives."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from interceptor.errors import HostError
from interceptor.names import Family
from interceptor.system import nfnetlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DONE, _ERROR, _TABLE, _CHAIN = 3, 2, 0x0A00, 0x0A03
_INTERRUPTED = 0x10

Answer = tuple[bytes, int, int]
"""A datagram, its flags and its sender."""


def message(kind: int, sequence: int, body: bytes, flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def named(*names: tuple[int, str]) -> bytes:
    """Write a body of family ip with texts by attribute number."""
    body = struct.pack("=BBH", socket.AF_INET, 0, 0)
    for number, name in names:
        value = name.encode() + b"\0"
        body += struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4)
    return body


_NAT = named((1, "nat"))
_OUTPUT = named((1, "nat"), (3, "OUTPUT"))


def done(sequence: int, code: int = 0) -> bytes:
    return message(_DONE, sequence, struct.pack("=i", -code))


class Kernel:
    """A socket whose answers to the question of a number are made by a function."""

    def __init__(self, answers: Callable[[int], list[Answer]]) -> None:
        self._answers = answers
        self._queue: Iterator[Answer] = iter(())
        self.asked = 0

    def settimeout(self, _seconds: float) -> None: ...
    def bind(self, _address: object) -> None: ...
    def close(self) -> None: ...

    def send(self, data: bytes) -> None:
        self.asked += 1
        (sequence,) = struct.unpack_from("=I", data, 8)
        self._queue = iter(self._answers(sequence))

    def recvmsg(self, _most: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        for data, flags, sender in self._queue:
            return data, [], flags, (sender, 0)
        raise TimeoutError("timed out")


def look(
    monkeypatch: pytest.MonkeyPatch, answers: Callable[[int], list[Answer]]
) -> tuple[nfnetlink.Held, int]:
    """Ask such a kernel, and give how often it was asked."""
    kernel = Kernel(answers)
    monkeypatch.setattr(socket, "socket", lambda *_: kernel)
    return nfnetlink.look(), kernel.asked


def true_answer(sequence: int, flags: int = 2) -> bytes:
    """Answer the first question with a table and the second with a chain in it."""
    kind, body = (_TABLE, _NAT) if sequence % 2 else (_CHAIN, _OUTPUT)
    return message(kind, sequence, body, flags) + done(sequence)


_FOUND = {(Family.IP, "nat"): nfnetlink.HeldTable(frozenset({"OUTPUT"}))}


def test_only_the_kernel_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process sends what looks like the end of an empty answer."""

    def answers(sequence: int) -> list[Answer]:
        return [(done(sequence), 0, 4711), (true_answer(sequence), 0, 0)]

    assert look(monkeypatch, answers) == (_FOUND, 2)


def test_only_the_answer_to_this_question_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(sequence: int) -> list[Answer]:
        return [(done(sequence - 1) + done(0), 0, 0), (true_answer(sequence), 0, 0)]

    assert look(monkeypatch, answers) == (_FOUND, 2)


def test_an_answer_that_was_interrupted_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answers(sequence: int) -> list[Answer]:
        if sequence <= 2:
            return [(message(_TABLE, sequence, _NAT, _INTERRUPTED) + done(sequence), 0, 0)]
        return [(true_answer(sequence - sequence % 2 + sequence % 2), 0, 0)]

    found, asked = look(monkeypatch, answers)
    assert asked > 2
    assert found.keys() == _FOUND.keys()


_BROKEN: dict[str, Callable[[int], list[Answer]]] = {
    "always interrupted": lambda n: [(true_answer(n, _INTERRUPTED), 0, 0)],
    "cut off": lambda n: [(true_answer(n), socket.MSG_TRUNC, 0)],
    "a message of no length": lambda _: [(bytes(32), 0, 0)],
    "a message longer than all": lambda n: [(struct.pack("=IHHII", 99, 0, 0, n, 0), 0, 0)],
    "an attribute of no length": lambda n: [
        (message(_TABLE, n, struct.pack("=BBH", 2, 0, 0) + bytes(8)), 0, 0)
    ],
    "an error": lambda n: [(message(_ERROR, n, struct.pack("=i", -errno.EINVAL)), 0, 0)],
    "an error at the end": lambda n: [(done(n, errno.ENOMEM), 0, 0)],
    "none": lambda _: [],
}


@pytest.mark.parametrize("what", _BROKEN)
def test_what_is_no_answer_is_an_error_and_not_none(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with pytest.raises(HostError, match=r"nf_tables cannot be asked for its tables: \w") as caught:
        look(monkeypatch, _BROKEN[what])
    assert "None" not in caught.value.message
