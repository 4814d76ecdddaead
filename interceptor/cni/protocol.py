"""What CNI says of how a plugin is called and how it answers (CNI spec 1.1.0, section 2).

Where the spec leaves a choice, this does as the reference library's skeleton does, with its
codes, so that a runtime meets what it knows from other plugins.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from interceptor.cni.versions import VERSIONS
from interceptor.errors import (
    DeadlineError,
    HostError,
    InterceptorError,
    NetnsError,
    UnreachableError,
    UsageError,
)
from interceptor.names import INTERFACE_NAME_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_OVERRIDE = ("1", "true")


class Code(IntEnum):
    """Error codes: those of the spec, the reference library's 8, and from 100 on ours."""

    VERSION = 1
    ENVIRONMENT = 4
    IO = 5
    DECODING = 6
    CONFIGURATION = 7
    NETNS = 8
    TRY_LATER = 11
    NOT_AVAILABLE = 50
    HOST_CANNOT = 100
    NOT_INSTALLED = 101
    DRIFTED = 102


class CniError(Exception):
    """What a runtime is told: a code, what failed, and what to do about it."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @classmethod
    def of(cls, error: InterceptorError) -> CniError:
        """Give the code for one of our errors."""
        match error:
            case DeadlineError() | UnreachableError():
                code = Code.TRY_LATER
            case NetnsError():
                code = Code.NETNS
            case UsageError():
                code = Code.CONFIGURATION
            case HostError():
                code = Code.HOST_CANNOT
            case _:
                code = Code.NOT_INSTALLED
        return cls(code, error.message, error.hint)

    def as_json(self, version: str) -> bytes:
        """Write it as the spec wants it on stdout."""
        said = {
            "cniVersion": version,
            "code": int(self.code),
            "msg": self.message,
            "details": self.details,
        }
        return msgspec.json.encode(said)


class Verb(msgspec.Struct, frozen=True):
    """One of the operations: the variables it needs, and the first version that has it.

    ``module`` is where it is, below ``cni.verbs``; VERSION has none.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    since: str = VERSIONS[0]


_ID, _NETNS, _IFNAME, _PATH = "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"

VERBS = {
    verb.name: verb
    for verb in (
        Verb("ADD", "add", (_ID, _NETNS, _IFNAME, _PATH)),
        Verb("DEL", "delete", (_ID, _IFNAME, _PATH)),
        Verb("CHECK", "check", (_ID, _NETNS, _IFNAME, _PATH), since="0.4.0"),
        Verb("GC", "gc", (_PATH,), since="1.1.0"),
        Verb("STATUS", "status", (_PATH,), since="1.1.0"),
        Verb("VERSION", "", ()),
    )
}


class Call(msgspec.Struct, frozen=True):
    """One call, as the environment has it; what a verb does not need may be empty.

    ``args`` are the pairs of CNI_ARGS; ``any_netns`` lifts the guard of the host's namespace.
    """

    verb: Verb
    container_id: str = ""
    netns_path: str = ""
    ifname: str = ""
    args: Mapping[str, str] = {}
    any_netns: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Call:
        """Read it, and check that what the verb needs is there.

        Raises:
            CniError: code 4, as the reference library says it.
        """
        name = environment.get("CNI_COMMAND", "")
        if name not in VERBS:
            raise CniError(Code.ENVIRONMENT, f"unknown CNI_COMMAND: {name}")
        verb = VERBS[name]
        missing = [variable for variable in verb.needs if not environment.get(variable)]
        if missing:
            raise CniError(
                Code.ENVIRONMENT, f"required env variables [{','.join(missing)}] missing"
            )
        return cls(
            verb,
            environment.get(_ID, ""),
            environment.get(_NETNS, ""),
            environment.get(_IFNAME, ""),
            _pairs(environment.get("CNI_ARGS", "")) if verb.name in ("ADD", "CHECK") else {},
            environment.get("CNI_NETNS_OVERRIDE", "") in _OVERRIDE,
        )

    def check_names(self) -> None:
        """Refuse what cannot be a container's or an interface's name.

        Raises:
            CniError: code 4.
        """
        if _ID in self.verb.needs:
            _check_id(self.container_id)
        if _IFNAME in self.verb.needs:
            _check_ifname(self.ifname)


def _pairs(text: str) -> dict[str, str]:
    """Read ``KEY=value;KEY=value``."""
    pairs = {}
    for item in filter(None, text.split(";")):
        key, is_pair, value = item.partition("=")
        if not is_pair:
            raise CniError(Code.ENVIRONMENT, "invalid CNI_ARGS pair", item)
        pairs[key] = value
    return pairs


def _check_id(container_id: str) -> None:
    if not _NAME.fullmatch(container_id):
        raise CniError(Code.ENVIRONMENT, "invalid characters in containerID", container_id)


def _check_ifname(ifname: str) -> None:
    if len(ifname) > INTERFACE_NAME_MAX:
        raise CniError(
            Code.ENVIRONMENT,
            "interface name is too long",
            f"interface name should be less than {INTERFACE_NAME_MAX + 1} characters",
        )
    if ifname in (".", ".."):
        raise CniError(Code.ENVIRONMENT, "interface name is . or ..")
    if any(c in "/:" or c.isspace() for c in ifname):
        raise CniError(Code.ENVIRONMENT, "interface name contains / or : or whitespace characters")


def check_network(name: str) -> None:
    """Refuse a network name that is missing or that the spec forbids.

    Raises:
        CniError: code 7.
    """
    if not name:
        raise CniError(Code.CONFIGURATION, "missing network name")
    if not _NAME.fullmatch(name):
        raise CniError(Code.CONFIGURATION, "invalid characters found in network name", name)


def check_version(version: str, verb: Verb) -> None:
    """Refuse a configuration of a version not spoken here, or older than the verb.

    Raises:
        CniError: code 1.
    """
    if version not in VERSIONS:
        spoken = " ".join(f'"{known}"' for known in VERSIONS)
        raise CniError(
            Code.VERSION,
            "incompatible CNI versions",
            f'config is "{version}", plugin supports [{spoken}]',
        )
    if VERSIONS.index(version) < VERSIONS.index(verb.since):
        raise CniError(
            Code.VERSION,
            f"config version does not allow {verb.name}",
            f"config is {version}, {verb.name} came with {verb.since}",
        )
