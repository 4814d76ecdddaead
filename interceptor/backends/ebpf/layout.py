"""The bytes of rules/bpf/policy.h."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.ebpf import prefixes
from interceptor.backends.ebpf.prefixes import Facts
from interceptor.backends.ebpf.reasons import REASONS
from interceptor.model.pod_config import MOST_MARKS, PodConfig
from interceptor.values import Ids, Mark, Marks, Network, Networks, Ports, Range

if TYPE_CHECKING:
    from collections.abc import Iterable

LAYOUT = 3
_IPV4, _IPV6, _INBOUND, _DNS = 1, 2, 4, 8

_POLICY = struct.Struct(f"=QIHHHH5I16s16s{8 * MOST_MARKS}s")
_MARK = struct.Struct("=II")
_FACT_KEY = struct.Struct("=IIQ16s")
_STATE = struct.Struct("=QQQ32s")
_LISTENER_KEY = struct.Struct("=QII")
_NUMBER = struct.Struct("=I")
_KEY_BITS = 96
"""Of the kind and the generation, which begin every key of a fact."""

POD_KEY = struct.Struct("=Q")
POLICY_SIZE, FACT_KEY_SIZE, STATE_SIZE = _POLICY.size, _FACT_KEY.size, _STATE.size
LISTENER_KEY_SIZE, COUNTERS_SIZE = _LISTENER_KEY.size, 8 * len(REASONS)
LISTENER_SLOTS = 8
TRACERS = 8

_UID, _GID, _PORT, _NET4, _NET6 = range(5)
_BITS = (32, 32, 16, 32, 128)

_ID_PROXY, _ID_EXCLUDED, _ID_INCLUDED = 1, 2, 4
_PORT_INBOUND, _PORT_KEPT, _PORT_OUTBOUND, _PORT_EXCLUDED = 1, 2, 4, 8
_NET_INCLUDED, _NET_EXCLUDED, _NET_RESOLVER, _NET_LOCALHOST, _NET_LOOPBACK, _NET_OWN = (
    1 << n for n in range(6)
)
_NET_SOURCE = 1 << 6


class State(msgspec.Struct, frozen=True):
    """What the machine keeps for the next run of the loader."""

    layout: int = LAYOUT
    last_generation: int = 0
    changing: bool = False
    digest: bytes = b""

    def pack(self) -> bytes:
        """Write it."""
        return _STATE.pack(self.layout, self.last_generation, self.changing, self.digest)

    @classmethod
    def unpack(cls, data: bytes) -> State:
        """Read it; an array that is new is all zero."""
        layout, generation, changing, digest = _STATE.unpack(data)
        return cls(layout, generation, bool(changing), digest)


class Lowered(msgspec.Struct, frozen=True):
    """A pod's policy as the maps have it."""

    policy: bytes
    facts: dict[bytes, bytes]


def lower(config: PodConfig, generation: int) -> Lowered:
    """Write a pod's policy under a generation."""
    tables = _tables(config)
    flags = (
        (_IPV4 if config.ipv4 else 0)
        | (_IPV6 if config.ipv6 else 0)
        | (_INBOUND if config.captures_inbound else 0)
        | (_DNS if config.resolvers else 0)
    )
    marks = b"".join(_MARK.pack(mark.value, mark.mask) for mark in config.marks.marks)
    policy = _POLICY.pack(
        generation,
        flags,
        config.outbound_port,
        config.inbound_port,
        config.dns_port,
        len(config.marks.marks),
        *(table.usual for table in tables),
        _address(config.source4),
        _address(config.source6),
        marks,
    )
    facts = {
        _fact_key(kind, generation, first, length): _NUMBER.pack(held)
        for kind, table in enumerate(tables)
        for (first, length), held in table.prefixes.items()
    }
    return Lowered(policy, facts)


def _tables(config: PodConfig) -> tuple[Facts, ...]:
    networks = {
        _NET_INCLUDED: config.included,
        _NET_EXCLUDED: config.excluded,
        _NET_RESOLVER: config.resolvers,
        _NET_LOCALHOST: config.localhost,
        _NET_LOOPBACK: config.loopback,
        _NET_OWN: config.own,
        _NET_SOURCE: config.excluded_sources,
    }
    return (
        prefixes.facts(
            {
                _ID_PROXY: _id_ranges(config.proxy_users),
                _ID_EXCLUDED: _id_ranges(config.excluded_users),
            },
            32,
        ),
        prefixes.facts(
            {
                _ID_PROXY: _id_ranges(config.proxy_groups),
                _ID_EXCLUDED: _id_ranges(config.excluded_groups),
                _ID_INCLUDED: _id_ranges(config.included_groups),
            },
            32,
        ),
        prefixes.facts(
            {
                _PORT_INBOUND: config.inbound_ports.ranges,
                _PORT_KEPT: config.kept_ports.ranges,
                _PORT_OUTBOUND: config.outbound_ports.ranges,
                _PORT_EXCLUDED: config.excluded_ports.ranges,
            },
            16,
        ),
        prefixes.facts({flag: _spans(n.ip) for flag, n in networks.items()}, 32),
        prefixes.facts({flag: _spans(n.ip6) for flag, n in networks.items()}, 128),
    )


def raised(policy: bytes, facts: dict[bytes, bytes]) -> PodConfig:
    """Read a pod's policy back from what the maps have."""
    generation, flags, outbound, inbound, dns, marks, *rest = _POLICY.unpack(policy)
    tables = [Facts(usual, {}) for usual in rest[:5]]
    for key, value in facts.items():
        length, kind, owner, number = _FACT_KEY.unpack(key)
        if owner == generation:
            bits = _BITS[kind]
            first = int.from_bytes(number[: bits // 8])
            tables[kind].prefixes[first, length - _KEY_BITS] = _NUMBER.unpack(value)[0]
    source4, source6, packed = rest[5:]

    def ids(kind: int, flag: int) -> Ids:
        found = prefixes.ranges(tables[kind], flag, 32)
        return Ids.everything() if found == ((0, 2**32 - 1),) else Ids(found)

    def ports(flag: int) -> Ports:
        return Ports(prefixes.ranges(tables[_PORT], flag, 16))

    def networks(flag: int) -> Networks:
        return Networks(
            tuple(_networks4(prefixes.ranges(tables[_NET4], flag, 32))),
            tuple(_networks6(prefixes.ranges(tables[_NET6], flag, 128))),
        )

    return PodConfig(
        ipv4=bool(flags & _IPV4),
        ipv6=bool(flags & _IPV6),
        outbound_port=outbound,
        inbound_port=inbound,
        dns_port=dns,
        inbound_ports=ports(_PORT_INBOUND),
        kept_ports=ports(_PORT_KEPT),
        outbound_ports=ports(_PORT_OUTBOUND),
        excluded_ports=ports(_PORT_EXCLUDED),
        included=networks(_NET_INCLUDED),
        excluded=networks(_NET_EXCLUDED),
        localhost=networks(_NET_LOCALHOST),
        loopback=networks(_NET_LOOPBACK),
        resolvers=networks(_NET_RESOLVER),
        own=networks(_NET_OWN),
        excluded_sources=networks(_NET_SOURCE),
        proxy_users=ids(_UID, _ID_PROXY),
        proxy_groups=ids(_GID, _ID_PROXY),
        excluded_users=ids(_UID, _ID_EXCLUDED),
        excluded_groups=ids(_GID, _ID_EXCLUDED),
        included_groups=ids(_GID, _ID_INCLUDED),
        marks=Marks.of(Mark(*_MARK.unpack_from(packed, n * _MARK.size)) for n in range(marks)),
        source4=_text(source4),
        source6=_text(source6),
    )


def generation_of(policy: bytes) -> int:
    """Give the generation a policy has its facts under."""
    return int(_POLICY.unpack(policy)[0])


def inbound_port_of(policy: bytes) -> int:
    """Give the port a policy sends to what arrives."""
    return int(_POLICY.unpack(policy)[3])


def family_of(listener_key: bytes) -> int:
    """Give AF_INET or AF_INET6."""
    return int(_LISTENER_KEY.unpack(listener_key)[1])


def owner_of(fact_key: bytes) -> int:
    """Give the generation of a fact."""
    return int(_FACT_KEY.unpack(fact_key)[2])


def listener_keys(pod: int) -> list[bytes]:
    """Give all keys a pod's listeners may have."""
    return [
        _LISTENER_KEY.pack(pod, family, slot)
        for family in (2, 10)
        for slot in range(LISTENER_SLOTS)
    ]


def counters(values: bytes) -> dict[str, int]:
    """Add up what each CPU counted, by reason."""
    sums = [0] * len(REASONS)
    for n, (value,) in enumerate(struct.iter_unpack("=Q", values)):
        sums[n % len(REASONS)] += value
    return {name: count for name, count in zip(REASONS, sums, strict=True) if name and count}


def _fact_key(kind: int, generation: int, first: int, length: int) -> bytes:
    number = first.to_bytes(_BITS[kind] // 8)
    return _FACT_KEY.pack(_KEY_BITS + length, kind, generation, number)


def _id_ranges(ids: Ids) -> tuple[Range, ...]:
    # Nobody has the last id, so everybody is a prefix of no bits and not thirty-two.
    return ((0, 2**32 - 1),) if ids.is_everything else ids.ranges


def _spans(networks: Iterable[Network]) -> list[Range]:
    return [(int(n.network_address), int(n.broadcast_address)) for n in networks]


def _networks4(found: Iterable[Range]) -> Iterable[IPv4Network]:
    for low, high in found:
        for first, length in prefixes.of_range(low, high, 32):
            yield IPv4Network((first, length))


def _networks6(found: Iterable[Range]) -> Iterable[IPv6Network]:
    for low, high in found:
        for first, length in prefixes.of_range(low, high, 128):
            yield IPv6Network((first, length))


def _address(text: str) -> bytes:
    if not text:
        return bytes(16)
    if ":" in text:
        return IPv6Address(text).packed
    return bytes(10) + b"\xff\xff" + IPv4Address(text).packed


def _text(packed: bytes) -> str:
    if not any(packed):
        return ""
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)
