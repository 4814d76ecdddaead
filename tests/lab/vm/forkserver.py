"""A process that has the program loaded; each command is a fork of it.

Emulated, Python takes a second to import what a command needs, and more than that for
python-iptables. Here that is done once. What a fork does is the program's own: the function the
console script calls, on the descriptors, environment and namespaces of whoever asked, and it
ends as that script does. What it does not show is that a fresh interpreter starts; that is no
kernel's business.

Whoever asks connects, sends a :class:`Request` with five descriptors, and reads the exit status
as four bytes, negative for a signal. If it closes its end before, the command is killed. When
standard input ends, so does the server, with all commands.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import io
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Literal

import msgspec

_NEWNS, _NEWNET = 0x00020000, 0x40000000
"""CLONE_NEWNS and CLONE_NEWNET of linux/sched.h."""
_LENGTH = struct.Struct("!I")
STATUS = struct.Struct("!i")
DESCRIPTORS = 5
"""Standard input, output and error, the network namespace and the mount namespace."""
_LATE = ("iptc", "pyroute2", "rich.console", "yaml", "http.client", "ctypes.util", "sqlite3")
"""What commands import when they need it."""
_PURE = (
    ("render", "--ip-families", "dual", "--backend", "nftables"),
    ("render", "--ip-families", "dual", "--backend", "iptables", "--mode", "tproxy"),
    ("prove", "--ip-families", "dual", "--capture-dns", "all", "--output", "json"),
)
_NOT_HERE = ("interceptor.__main__", "interceptor.node", "interceptor.system.bcc")
"""Starts the program, or needs what the system inside does not have."""


class Request(msgspec.Struct, frozen=True):
    """A command: its words, the first being the program; where and with what it runs.

    ``cwd`` is empty where the mount namespace's root will do.
    """

    argv: list[str]
    environment: dict[str, str]
    cwd: str


def send(connection: socket.socket, request: Request, descriptors: list[int]) -> None:
    """Ask for a command."""
    data = msgspec.json.encode(request)
    socket.send_fds(connection, [_LENGTH.pack(len(data))], descriptors)
    connection.sendall(data)


def _receive(connection: socket.socket) -> tuple[Request, list[int]]:
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, DESCRIPTORS)
    [left] = _LENGTH.unpack(head)
    parts = []
    while left and (part := connection.recv(left)):
        parts.append(part)
        left -= len(part)
    return msgspec.json.decode(b"".join(parts), type=Request), descriptors


def load() -> None:
    """Import all a command may need, so that its forks need not."""
    import interceptor

    for found in pkgutil.walk_packages(interceptor.__path__, "interceptor."):
        if not found.name.startswith(_NOT_HERE):
            # What is an extra may be missing here, as it may be for the program.
            with suppress(ImportError):
                importlib.import_module(found.name)
    for name in _LATE:
        with suppress(ImportError):
            importlib.import_module(name)


def warm() -> None:
    """Have what is only worked out from text, as patterns are, worked out once.

    Nothing that is asked of a kernel: each command asks anew.
    """
    from interceptor.cli.main import run

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for arguments in _PURE:
            run(arguments)


def _enter(descriptor: int, kind: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, kind) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _take_over(connection: socket.socket) -> None:
    """Become the process whoever is at the other end would have started."""
    request, descriptors = _receive(connection)
    *streams, network, mounts = descriptors
    _enter(mounts, _NEWNS)
    _enter(network, _NEWNET)
    if request.cwd:
        os.chdir(request.cwd)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    # What Python itself put there when it started stays, as it would be there anew.
    given = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}
    os.environ.clear()
    os.environ.update(given | request.environment)
    sys.argv = request.argv
    errors = sys.stdin.errors
    sys.stdin = _stream(0, "r", errors)
    sys.stdout = _stream(1, "w", errors)
    sys.stderr = _stream(2, "w", "backslashreplace")
    sys.stderr.reconfigure(line_buffering=True)


def _stream(descriptor: int, mode: Literal["r", "w"], errors: str | None) -> io.TextIOWrapper:
    """Give a standard stream as Python makes them, with nothing in it yet."""
    return open(descriptor, mode, encoding="utf-8", errors=errors, closefd=False)


def _command(connection: socket.socket) -> None:
    """Run a command and end, as a console script does."""
    code = 1
    try:
        _take_over(connection)
        from interceptor.cli.entry import main

        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing of it may go on in the server's place
        traceback.print_exc()
    finally:
        os._exit(code)


class Server:
    """Forks for each connection, and tells each how its command ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._poll = select.poll()
        self._children: dict[int, tuple[int, socket.socket]] = {}
        """Process and connection, by the descriptor of the process."""

    def serve(self) -> None:
        """Serve until standard input ends."""
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(0, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == 0:
                    self._end()
                    return
                if descriptor == self._listener.fileno():
                    self._begin(self._listener.accept()[0])
                elif descriptor in self._children:
                    self._ended(descriptor)
                else:
                    self._left(descriptor)

    def _begin(self, connection: socket.socket) -> None:
        process = os.fork()
        if process == 0:
            _command(connection)
        watched = os.pidfd_open(process)
        self._children[watched] = process, connection
        self._poll.register(watched, select.POLLIN)
        # Not whether there is something to read, which is the child's: whether anybody is there.
        self._poll.register(connection, select.POLLRDHUP)

    def _ended(self, watched: int) -> None:
        process, connection = self._children.pop(watched)
        _, status = os.waitpid(process, 0)
        self._poll.unregister(watched)
        os.close(watched)
        with suppress(KeyError):
            self._poll.unregister(connection)
        with suppress(OSError), connection:
            connection.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))

    def _left(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        for process, connection in self._children.values():
            if connection.fileno() == descriptor:
                os.kill(process, signal.SIGKILL)

    def _end(self) -> None:
        for process, _ in self._children.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def main() -> None:
    """Serve on the listener whose descriptor is the first word."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    # Where a script's own directory is, ``-m`` has put the working directory.
    sys.path[0] = os.path.dirname(sys.executable)
    load()
    warm()
    gc.collect()
    gc.freeze()
    Server(listener).serve()


if __name__ == "__main__":
    main()
