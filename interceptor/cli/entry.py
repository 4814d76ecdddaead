"""The console script: start fast, end fast. Every pod's start waits for this process.

Two things cost a short process time and give it nothing. Collecting garbage while modules load
costs 4 ms of 80, and taking the interpreter apart at the end 7 ms. So the collector is off, and
the process ends as soon as its output is flushed; whatever has to be closed or undone is closed
by ``with`` and ``finally`` before that, never by ``atexit``.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line this process was given."""
    gc.disable()
    from interceptor.cli.main import run

    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    os._exit(code)
