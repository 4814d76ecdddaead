"""The only place that starts a process: a fixed environment, argv lists, a deadline."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

import msgspec

from interceptor.errors import DeadlineError, HostError
from interceptor.system import sandbox
from interceptor.system.brought import brought

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from interceptor.system.deadline import Deadline

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INTERRUPTS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


_kept_open: list[int] = []
"""Descriptors that processes inherit; see :func:`kept_open`."""


class Outcome(msgspec.Struct, frozen=True):
    """What a process left behind."""

    returncode: int
    stdout: bytes
    stderr: str


def search_path() -> str:
    """Give the directories tools are looked for in: our own, the system's, then the caller's.

    A CNI runtime may start us with no PATH at all, and many PATHs lack the sbin directories. What
    a caller adds comes last, and only by whole paths: we are root.
    """
    inherited = os.environ.get("PATH", "").split(":")
    return ":".join(
        [*brought(), _SYSTEM_PATH, *(path for path in inherited if path.startswith("/"))]
    )


def find(tool: str) -> str | None:
    """Give a tool's path, or ``None`` if this host does not have it."""
    # As shutil.which, whose import costs more than all the looking.
    for directory in search_path().split(":"):
        path = os.path.join(directory, tool)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def need(tool: str, *, package: str) -> str:
    """Give a tool's path.

    Raises:
        HostError: it is not there; the hint names the package that brings it.
    """
    path = find(tool)
    if path is None:
        raise HostError(f"there is no {tool} on this host", hint=f"install {package}")
    return path


def run(
    argv: Sequence[str],
    deadline: Deadline,
    *,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a tool to its end.

    It is kept from asking a directory for the names of ids, as far as this process may do that,
    see ``sandbox``.

    It gets no environment but PATH, a plain locale and what is passed, and a process group of
    its own: Ctrl-C is for us to handle, between two tools and not within one.

    Raises:
        DeadlineError: it did not end in time; it was killed, with all it started.
        HostError: it cannot be started.
    """
    name = os.path.basename(argv[0])
    longest_s = deadline.remaining(name)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": search_path(), "LC_ALL": "C", **(environment or {})},
            process_group=0,
            pass_fds=_kept_open,
            # It makes two system calls and nothing else, whatever threads there may be.
            preexec_fn=sandbox.without_names(),  # noqa: PLW1509
        )
    except OSError as error:
        raise HostError(
            f"{argv[0]} cannot be started: {error.strerror}", hint="is it built for this host?"
        ) from None
    with process:
        try:
            stdout, stderr = process.communicate(stdin.encode(), longest_s)
        except BaseException as error:
            # With all it started itself: a wrapper's child could change rules after our undo.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise deadline.error(name) from None
            raise
    return Outcome(process.returncode, stdout, stderr.decode(errors="replace"))


@contextmanager
def kept_open(descriptor: int) -> Iterator[None]:
    """Let processes started meanwhile hold a descriptor too, and with it a lock on it."""
    _kept_open.append(descriptor)
    try:
        yield
    finally:
        _kept_open.remove(descriptor)


def isolated(function: Callable[[], str], deadline: Deadline) -> str | None:
    """Call a function in a child of this process and give its result; ``None`` if it died.

    For C libraries that keep state between calls or end the process when they do not like it.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "w", encoding="utf-8") as pipe:
                pipe.write(function())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            result = _read_all(pipe, deadline)
    except DeadlineError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    _, status = os.waitpid(child, 0)
    return result.decode() if status == 0 else None


def _read_all(pipe: IO[bytes], deadline: Deadline) -> bytes:
    parts: list[bytes] = []
    while True:
        left = deadline.remaining("reading from a library")
        if select.select([pipe], [], [], left)[0]:
            part = pipe.read(1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: undoing and closing on its way."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP)
        # Who started us under nohup wants SIGHUP ignored.
        if signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Hold Ctrl-C and termination back while several steps must be done or undone together."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def lines(outcome: Outcome) -> Iterator[str]:
    """Give what a tool said on stderr, line by line, without the empty ones."""
    yield from (line for line in outcome.stderr.splitlines() if line.strip())
