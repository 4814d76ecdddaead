"""Exit codes; errors carry their own (``errors.InterceptorError.exit_code``)."""

from __future__ import annotations

DONE = 0
"""Done, or already so, or in sync."""
FAILED = 1
"""Something failed; nothing is half-done."""
USAGE = 2
"""The command line, a setting or a sheet makes no sense."""
FOUND = 3
"""``check``, ``status``, ``prove``, ``diff``, ``cni status`` or ``cni pods`` found something;
``detect`` found no mesh that is as it should be; or ``explain`` cannot tell."""
CANNOT = 4
"""This host cannot; the message names what is missing."""
UNVERIFIED = 126
"""``verify`` saw a connection go another way than it should."""

INTERRUPTED = 130
"""Ended by a signal, after what was begun was done or undone."""

MEANINGS = {
    DONE: "done, already so, or in sync",
    FAILED: "failed, and nothing is half-done; or done, and stdout could not take the answer",
    USAGE: "the command line, a setting or a sheet makes no sense",
    FOUND: "check, status, prove, diff, cni status or cni pods found something; "
    "detect found no mesh, or one that drifted; explain cannot tell",
    CANNOT: "this host cannot: the message names what is missing; or verify could try nothing",
    UNVERIFIED: "verify saw a connection go another way than it should, or had no time to try all",
    INTERRUPTED: "ended by Ctrl-C, SIGTERM or SIGHUP, after what was begun was done or undone",
}
