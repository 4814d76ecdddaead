"""The console script: start fast, end fast. Every pod's start waits for this process.

Two things cost a short process time and give it nothing. Collecting garbage while modules load
costs 4 ms of 80, and taking the interpreter apart at the end 7 ms. So the collector is off, and
the process ends as soon as its output is flushed; whatever has to be closed or undone is closed
by ``with`` and ``finally`` before that, never by ``atexit``.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress

from interceptor.files import fill_standard_descriptors


def main() -> None:
    """Run the command line this process was given."""
    gc.disable()
    fill_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # No text is worth an error because a terminal lacks its letters.
            stream.reconfigure(errors="backslashreplace")
    from interceptor.cli.main import run

    code = run(sys.argv[1:])
    # Python has None for a stream that was closed when it started.
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # What could not be written is told and judged by now.
        with suppress(OSError):
            stream.flush()
    os._exit(code)
