"""Network namespaces with unique names that are gone afterwards, whatever happened in them."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pyroute2 import IPRoute, netns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNET = 0x40000000
_NODAD = 0x02


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """One namespace; ``with`` it, this thread and what it starts are inside."""

    def __init__(self, role: str, path: str = "") -> None:
        """Make one, or join the one at a path, which somebody else made."""
        self.role = role
        self.name = "" if path else f"iv-{role}-{os.getpid()}-{secrets.token_hex(3)}"
        if self.name:
            netns.create(self.name)
        self.path = path or f"/run/netns/{self.name}"
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self._stack: list[int] = []
        if self.name:
            with self, IPRoute() as here:
                here.link("set", index=1, state="up")

    def resolv_conf(self, text: str) -> None:
        """Say what its processes read as resolv.conf, where ip-netns(8) has it."""
        path = self._etc / "resolv.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def _etc(self) -> Path:
        return Path("/etc/netns", self.name)

    def __enter__(self) -> Self:
        self._stack.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        _setns(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        before = self._stack.pop()
        _setns(before)
        os.close(before)

    def run(self, *argv: str, check: bool = True, stdin: str = "") -> str:
        """Run a command inside and give what it prints."""
        with self:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, text=True, check=False, timeout=60
            )
        if check and done.returncode != 0:
            raise AssertionError(f"{argv} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def sysctl(self, name: str, value: str) -> None:
        """Set one of the namespace's knobs, by its path below /proc/sys/net."""
        with self:
            Path("/proc/sys/net", name).write_text(value)

    def address(self, interface: str, *addresses: str) -> None:
        """Put addresses (with their prefix length) on an interface, usable at once."""
        with self, IPRoute() as here:
            index = here.link_lookup(ifname=interface)[0]
            for address in addresses:
                host, _, length = address.partition("/")
                here.addr("add", index=index, address=host, prefixlen=int(length), flags=_NODAD)

    def default_route(self, *gateways: str) -> None:
        """Send everything else by these gateways, one a family."""
        with self, IPRoute() as here:
            for gateway in gateways:
                here.route("add", dst="::/0" if ":" in gateway else "0.0.0.0/0", gateway=gateway)

    def forward(self) -> None:
        """Pass on what is for somebody else, as a host of VMs does."""
        self.sysctl("ipv4/ip_forward", "1")
        self.sysctl("ipv6/conf/all/forwarding", "1")

    def remove(self) -> None:
        """Take the namespace and all in it away; one that was joined stays."""
        os.close(self._descriptor)
        if not self.name:
            return
        netns.remove(self.name)
        shutil.rmtree(self._etc, ignore_errors=True)


def cable(one: Namespace, one_name: str, other: Namespace, other_name: str) -> None:
    """Connect two namespaces by a pair of interfaces, both up."""
    with one, IPRoute() as here:
        here.link(
            "add",
            ifname=one_name,
            kind="veth",
            peer={"ifname": other_name, "net_ns_fd": other._descriptor},
        )
        here.link("set", index=here.link_lookup(ifname=one_name)[0], state="up")
    with other, IPRoute() as there:
        there.link("set", index=there.link_lookup(ifname=other_name)[0], state="up")


@contextmanager
def namespaces(*roles: str) -> Iterator[Sequence[Namespace]]:
    """Have namespaces for a while."""
    with ExitStack() as stack:
        made = []
        for role in roles:
            made.append(Namespace(role))
            stack.callback(made[-1].remove)
        yield made


@contextmanager
def joined(role: str, path: str) -> Iterator[Namespace]:
    """Be able to enter a namespace that a runtime made."""
    made = Namespace(role, path)
    try:
        yield made
    finally:
        made.remove()
