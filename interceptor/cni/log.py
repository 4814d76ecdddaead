"""One line of JSON for each call, on stderr and, if wanted, in a file that stays small."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.system import logfile

if TYPE_CHECKING:
    from collections.abc import Mapping


def write(notes: Mapping[str, Any], path: str, most_bytes: int) -> None:
    """Write the notes of a call; what cannot be written is no reason to fail it.

    Args:
        notes: what is told, in order.
        path: of a file, or ``""`` for stderr alone.
        most_bytes: see ``logfile.append``.
    """
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e3):03}Z"
    line = msgspec.json.encode({"time": stamp, **notes}, enc_hook=str) + b"\n"
    faults = []
    if path:
        try:
            logfile.append(path, line, most_bytes)
        except OSError as error:
            faults.append({"log_file": path, "error": error.strerror})
    try:
        sys.stderr.buffer.write(line)
        for fault in faults:
            sys.stderr.buffer.write(msgspec.json.encode(fault) + b"\n")
        sys.stderr.flush()
    except OSError:
        pass
