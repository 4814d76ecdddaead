"""A pod's policy as bytes: what is written is read back, and what means the same is the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.backends.ebpf import layout
from interceptor.backends.ebpf.reasons import REASONS, VERDICTS, sentence
from interceptor.errors import ConfigError, HostError
from interceptor.facts import HostFacts, PodFacts
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.sheets.sockets import pod_config
from interceptor.values import Networks, Ports
from tests.lab.cases import CASES

if TYPE_CHECKING:
    from interceptor.model.pod_config import PodConfig

_KEPT = Ports.of(22, 15008, 15020, 15021, 15090)
_POD = PodFacts(Networks.parse("10.1.0.1,10.1.0.2,fd01::1,::1,::6"), "10.1.0.1", "fd01::1")
_HEADER = Path(__file__).parents[2] / "rules" / "bpf" / "policy.h"
_SHEET = _HEADER.parents[1] / "sidecar.toml"
_REFUSED = {
    case
    for case, settings in CASES.items()
    if settings.get("mode") == "tproxy"
    or {"exclude_interfaces", "virtual_interfaces", "drop_invalid"} & set(settings)
}


def _config(settings: dict[str, str], pod: PodFacts = _POD) -> PodConfig:
    config = resolve([DEFAULTS, Layer(settings, lambda key: key)]).config
    facts = HostFacts(resolvers=Networks.parse("10.0.0.53,fd00::53"))
    return pod_config(config, facts, pod, kept=_KEPT)


@pytest.mark.parametrize("case", sorted(set(CASES) - _REFUSED))
def test_what_is_written_is_read_back(case: str) -> None:
    config = _config(CASES[case])
    lowered = layout.lower(config, 7)
    stranger = layout.lower(_config({"exclude_outbound_ports": "1-999"}), 8).facts
    assert layout.raised(lowered.policy, {**stranger, **lowered.facts}) == config
    assert layout.generation_of(lowered.policy) == 7


@pytest.mark.parametrize("case", sorted(_REFUSED))
def test_what_cannot_be_is_refused(case: str) -> None:
    with pytest.raises(HostError, match="the eBPF backend has no"):
        _config(CASES[case])


@pytest.mark.parametrize(
    "settings",
    [
        {"include_inbound_ports": "22,15020"},
        {"include_outbound_ports": "80", "exclude_outbound_ports": "80"},
        {"include_outbound_cidrs": "10.0.0.0/8", "exclude_outbound_cidrs": "10.0.0.0/8"},
        {"include_outbound_owner_groups": ""},
        {"capture_dns": "all", "exclude_outbound_ports": "53"},
    ],
)
def test_what_captures_nothing_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        _config(settings)


def test_what_means_the_same_is_the_same() -> None:
    one = _config({"exclude_inbound_ports": "80,81,22", "exclude_outbound_cidrs": "10.0.0.0/8"})
    other = _config(
        {"exclude_inbound_ports": "80-81", "exclude_outbound_cidrs": "10.0.0.0/9,10.128.0.0/9"}
    )
    assert one == other
    assert layout.lower(one, 1) == layout.lower(other, 1)


def test_ids_of_a_user_namespace() -> None:
    pod = PodFacts(users=((0, 100000, 1000), (1337, 500000, 1)), groups=((0, 200000, 65536),))
    config = _config({"proxy_uid": "999-1337", "proxy_gid": "1337"}, pod)
    assert str(config.proxy_users) == "100999,500000"
    assert str(config.proxy_groups) == "201337"
    assert config.included_groups.is_everything


def _members(enum: str) -> list[str]:
    found = re.search(rf"enum {enum} {{(.*?)}}", _HEADER.read_text(), re.DOTALL)
    assert found
    return re.findall(r"^\s*([A-Z_]+)\s*(?:=|,)", found[1], re.MULTILINE)


def test_numbers_are_those_of_the_programs() -> None:
    reasons = [name.removeprefix("REASON_").lower() for name in _members("reason")]
    assert reasons == ["none", *(r.replace("-", "_") for r in REASONS[1:]), "reasons"]
    verdicts = [name.removeprefix("TO_").lower() for name in _members("verdict")]
    assert tuple(verdicts) == VERDICTS
    assert f"#define LAYOUT {layout.LAYOUT}\n" in _HEADER.read_text()
    assert f"#define LISTENER_SLOTS {layout.LISTENER_SLOTS}\n" in _HEADER.read_text()
    assert f"#define TRACERS {layout.TRACERS}\n" in _HEADER.read_text()


# What the sheet has no row for, or the kernel no two reasons for.
_OWN_WORDS = {"kept-port", "not-included", "inbound-not-included", "no-listener", "unsettled"}


@pytest.mark.parametrize("reason", REASONS[1:])
def test_a_reason_is_said_in_the_words_of_the_sheet(reason: str) -> None:
    whys = re.findall(r'why = "(.*?)"', _SHEET.read_text())
    for protocol in ("tcp", "udp"):
        assert (sentence(reason, protocol) in whys) == (reason not in _OWN_WORDS)
