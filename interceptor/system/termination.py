"""Being told to end, for a process that runs until it is."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def told_to_end() -> Iterator[threading.Event]:
    """Give an event that SIGTERM, SIGINT and SIGHUP set: what is being done is done to its end.

    A SIGHUP that whoever started us has ignored stays so, as under nohup.
    """
    event = threading.Event()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: event.set()) for number in numbers}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
