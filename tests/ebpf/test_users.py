"""Ids in a pod with a user namespace of its own: settings mean the pod's."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.system.pod import id_maps
from tests.lab.ebpf import Lab, config_for
from tests.lab.netns import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_POD = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000 | 0x40000000) == 0
print("unshared", flush=True)
sys.stdin.readline()
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
import fcntl, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1))
listeners = {}
for at in (("127.1.2.3", 80), ("127.0.0.1", 15001)):
    listeners[at[1]] = socket.create_server(at)
print("ready", flush=True)
for line in sys.stdin:
    uid = int(line)
    child = os.fork()
    if child == 0:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        with socket.socket() as client:
            client.settimeout(2)
            client.connect(("127.1.2.3", 80))
        os._exit(0)
    os.waitpid(child, 0)
    for port, listener in listeners.items():
        listener.settimeout(0)
        try:
            listener.accept()[0].close()
            print(port, flush=True)
        except BlockingIOError:
            pass
"""


class _Inside(Namespace):
    """The namespace of a process, as far as config_for looks at it."""

    def __init__(self, process: int) -> None:
        self.role, self.path = "pod", f"/proc/{process}/ns/net"
        self._descriptor = os.open(self.path, os.O_RDONLY)
        self._stack = []


@contextmanager
def _pod() -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", _POD]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "unshared\n"
            Path(f"/proc/{started.pid}/uid_map").write_text("0 100000 65536\n")
            Path(f"/proc/{started.pid}/gid_map").write_text("0 200000 65536\n")
            _say(started, "")
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


def _say(started: subprocess.Popen[str], line: str) -> None:
    assert started.stdin is not None
    started.stdin.write(f"{line}\n")
    started.stdin.flush()


def _taken_by(started: subprocess.Popen[str], uid: int) -> int:
    _say(started, str(uid))
    assert started.stdout is not None
    return int(started.stdout.readline())


def test_ids_are_the_pods(machine: Lab) -> None:
    with _pod() as started:
        inside = _Inside(started.pid)
        assert id_maps(inside._descriptor) == (((0, 100000, 65536),), ((0, 200000, 65536),))
        flags = (
            *("--include-outbound-cidrs", "127.0.0.0/8", "--mode", "none"),
            *("--exclude-outbound-uids", "500-600"),
        )
        config = config_for(inside, flags)
        assert str(config.proxy_users) == "101337"
        assert str(config.proxy_groups) == "201337"
        assert str(config.excluded_users) == "100500-100600"
        machine.put(inside, *flags)
        assert [_taken_by(started, uid) for uid in (1000, 1337, 500, 601, 0)] == [
            15001,
            80,
            80,
            15001,
            15001,
        ]
        os.close(inside._descriptor)
