"""Commands as forks of a process that has the program loaded: see ``forkserver``.

Only where the suite says so, by the variable ``FORKSERVER``: everywhere else, and for whatever is
started as somebody or something else, a command is a real execution.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from tests.lab.vm.forkserver import STATUS, Request, send

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ADDRESS = "FORKSERVER"
"""Variable: the path of the server's socket."""
_PROJECT = Path(__file__).parent.parent.parent.parent
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_INTERPRETERS = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that a new interpreter would heed and a fork no more."""
_PART = 1 << 16
_OWN_MOUNTS = "/proc/thread-self/ns/mnt"


class Serving(NamedTuple):
    """A server: the path of its socket, and its process."""

    address: str
    process: int


@contextmanager
def forkserver() -> Iterator[Serving]:
    """Have a server for a while; it takes calls while it still loads."""
    with (
        tempfile.TemporaryDirectory(prefix="forkserver-") as directory,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        address = os.path.join(directory, "socket")
        listener.bind(address)
        listener.listen(64)
        argv = [sys.executable, "-m", "tests.lab.vm.forkserver", str(listener.fileno())]
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            cwd=_PROJECT,
            # As tests call the program: so its interpreter chose its encodings.
            env={"PATH": _PATH, "PYTHONDONTWRITEBYTECODE": "1"},
        ) as process:
            listener.close()
            yield Serving(address, process.pid)
            assert process.stdin
            process.stdin.close()
            process.wait(30)


def mounts(prefix: Sequence[str]) -> str | None:
    """Give the mount namespace a fork shall enter; ``None``: this is for a real execution."""
    match [*prefix]:
        case []:
            return _OWN_MOUNTS
        case [program, option] if program.endswith("/nsenter") and option.startswith("--mount="):
            return option.removeprefix("--mount=")
        case _:
            return None


def bears(environment: Mapping[str, str]) -> bool:
    """Whether there is a server, and a fork heeds these variables as a new interpreter does."""
    return ADDRESS in os.environ and not any(
        name.startswith(_INTERPRETERS) for name in environment
    )


def run(
    argv: Sequence[str],
    *,
    stdin: str,
    environment: Mapping[str, str],
    timeout: float,
    mounts: str = _OWN_MOUNTS,
) -> subprocess.CompletedProcess[str]:
    """Run the program in this thread's network namespace, as ``subprocess.run`` would.

    Raises:
        subprocess.TimeoutExpired: it took longer than that, in seconds, and was killed.
        RuntimeError: the server is gone.
    """
    end = time.monotonic() + timeout
    with ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.connect(os.environ[ADDRESS])
        pipes = [os.pipe() for _ in range(3)]
        ends: list[list[BinaryIO]] = [
            [stack.enter_context(_file(one)) for one in pipe] for pipe in pipes
        ]
        theirs = [ends[0][0], ends[1][1], ends[2][1]]
        ours = [ends[0][1], ends[1][0], ends[2][0]]
        # The thread's: others of this process may be elsewhere.
        places = ["/proc/thread-self/ns/net", mounts]
        entered = [stack.enter_context(_file(os.open(path, os.O_RDONLY))) for path in places]
        cwd = os.getcwd() if mounts == _OWN_MOUNTS else ""
        request = Request([*argv], {**environment}, cwd)
        send(connection, request, [one.fileno() for one in (*theirs, *entered)])
        for one in theirs:
            one.close()
        try:
            status, stdout, stderr = _talk(connection, ours, stdin.encode(), end)
        except TimeoutError:
            connection.shutdown(socket.SHUT_WR)
            connection.recv(STATUS.size)
            raise subprocess.TimeoutExpired([*argv], timeout) from None
    if len(status) != STATUS.size:
        raise RuntimeError("the process that commands are forked from is gone")
    [code] = STATUS.unpack(status)
    return subprocess.CompletedProcess([*argv], code, stdout.decode(), stderr.decode())


def _file(descriptor: int) -> BinaryIO:
    return os.fdopen(descriptor, "r+b", buffering=0)


def _talk(
    connection: socket.socket, ours: Sequence[BinaryIO], given: bytes, end: float
) -> tuple[bytes, bytes, bytes]:
    """Give what came by the connection, and what the command wrote, when all is at its end.

    Raises:
        TimeoutError: that was not by then.
    """
    sources = [connection.fileno(), *(one.fileno() for one in ours[1:])]
    came = {source: bytearray() for source in sources}
    with selectors.DefaultSelector() as selector:
        for descriptor in came:
            selector.register(descriptor, selectors.EVENT_READ)
        selector.register(ours[0].fileno(), selectors.EVENT_WRITE)
        while selector.get_map():
            ready = selector.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                if key.fd in came:
                    # A server that is gone had not read all that it was sent.
                    part = b""
                    with suppress(ConnectionResetError):
                        part = os.read(key.fd, _PART)
                    came[key.fd] += part
                    is_status = key.fd == connection.fileno() and len(came[key.fd]) == STATUS.size
                    if is_status or not part:
                        selector.unregister(key.fd)
                    continue
                # So much a pipe that is ready takes without waiting.
                with suppress(BrokenPipeError):
                    given = given[os.write(key.fd, given[: select.PIPE_BUF]) :]
                    if given:
                        continue
                selector.unregister(key.fd)
                ours[0].close()
    status, stdout, stderr = map(bytes, came.values())
    return status, stdout, stderr
