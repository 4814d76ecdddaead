"""Old meshes' sheets from the command line: installed, looked at, mended, taken over, moved on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest

from interceptor.names import Family
from tests.lab.elders import ELDERS, GOLDENS
from tests.lab.envoy import Proxy, running_envoy
from tests.lab.http import web_server
from tests.lab.left import LEFT
from tests.lab.netns import namespaces
from tests.lab.paths import RULE_PATHS, RulePath, by_chain, done_well, dump, interceptor
from tests.lab.pod import CLIENT, FAR, POD, POD_SIDE
from tests.lab.traffic import connect, recorder
from tests.lab.waiting import becomes
from tests.netns.test_envoy import Mesh
from tests.netns.test_takeover import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_APP = 8080
_AT_ITS_ADDRESS = 8181


class Old(NamedTuple):
    """A sheet with settings that bring much of it out, and what of it can be lost."""

    sheet: str
    flags: tuple[str, ...]
    nft: str
    iptables: str

    @property
    def all_flags(self) -> tuple[str, ...]:
        return ("--sheet", self.sheet, "--ip-families", "dual", *self.flags)


OLD = {
    "osm": Old(
        "osm",
        (
            *("--option", f"pod_address={POD[4]},{POD[6]}", "--exclude-interfaces", "net1"),
            *("--exclude-inbound-ports", "9090", "--exclude-outbound-cidrs", "192.0.2.0/24"),
        ),
        "osm-proxy-outbound",
        "OSM_PROXY_OUTBOUND",
    ),
    "istio-1.5": Old(
        "istio-1.5",
        ("--virtual-interfaces", "vm0", "--exclude-outbound-ports", "3306"),
        "istio-output",
        "ISTIO_OUTPUT",
    ),
    "istio-0.1": Old(
        "istio-0.1",
        ("--include-outbound-cidrs", "203.0.113.0/24,2001:db8::/32"),
        "istio-output",
        "ISTIO_OUTPUT",
    ),
}


@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize("name", ELDERS)
def test_the_tables_of_rules_are_as_iptables_prints_them(name: str, variant: str) -> None:
    with namespaces("elder") as (namespace,):
        for family, tool in ((Family.IP, "iptables"), (Family.IP6, "ip6tables")):
            lines = ELDERS[name].lines(family)
            own = dict.fromkeys(line.split()[1] for line in lines)
            declared = [f":{one} -" for one in own if one not in ("PREROUTING", "OUTPUT")]
            text = "\n".join(["*nat", *declared, *lines, "COMMIT", ""])
            namespace.run(f"{tool}-{variant}-restore", stdin=text)
            saved = namespace.run(f"{tool}-{variant}-save", "-t", "nat").splitlines()
            for chain in own:
                of_it = f"-A {chain} "
                assert [line for line in saved if line.startswith(of_it)] == [
                    line for line in lines if line.startswith(of_it)
                ]


@pytest.mark.parametrize("name", ELDERS)
def test_nft_takes_its_golden(name: str) -> None:
    with namespaces("elder") as (namespace,):
        namespace.run("nft", "-f", "-", stdin=(GOLDENS / f"{name}.nft").read_text())


@pytest.mark.parametrize("name", OLD)
def test_from_install_to_uninstall(pod: Pod, rule_path: RulePath, name: str) -> None:
    old, here = OLD[name], pod.pod
    before = dump(here)
    install = ("install", *old.all_flags, *rule_path.flags)
    done_well(*install, namespace=here)
    assert done_well("status", namespace=here).stdout.startswith(f"in-sync: {old.sheet}")
    verified = done_well("verify", "--output", "json", namespace=here).json
    assert {one["family"] for one in verified["connections"]} == {"ip", "ip6"}
    done_well("explain", "inbound", "--to-port", "9000", "--live", namespace=here)
    done_well("graph", "--live", "--format", "mermaid", namespace=here)
    proof = interceptor("prove", "--live", namespace=here)
    assert (proof.code, f"({old.sheet}: " in proof.stdout) == (3, True), proof

    _lose_a_rule(pod, rule_path, old)
    found = interceptor("status", "--output", "json", namespace=here)
    assert (found.code, found.json["state"]) == (3, "drifted")
    assert done_well(*install, "--output", "json", namespace=here).json["changed"]
    assert not done_well(*install, "--output", "json", namespace=here).json["changed"]
    done_well("uninstall", namespace=here)
    assert dump(here) == before


def _lose_a_rule(pod: Pod, path: RulePath, old: Old) -> None:
    """Take the first rule out of the chain that decides about outbound connections."""
    if path.name == "nftables":
        listed = pod.pod.run("nft", "-a", "list", "chain", "inet", "interceptor", old.nft)
        handle = listed.split("# handle ")[2].split()[0]
        pod.pod.run("nft", "delete", "rule", "inet", "interceptor", old.nft, "handle", handle)
    else:
        pod.pod.run(path.name, "-t", "nat", "-D", old.iptables, "1")


@pytest.mark.parametrize("left", ["osm", "osm twice", "istio-1.5", "istio-0.1"])
@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_its_own_sheet_takes_over_what_the_mesh_left(path: RulePath, tool: str, left: str) -> None:
    sheet = left.split(maxsplit=1)[0]
    with namespaces("left") as (namespace,):
        before = prepare(namespace, tool, foreign=True)
        LEFT[left].put(namespace, tool)
        install = ("install", "--sheet", sheet, *path.flags, "--output", "json")
        assert done_well(*install, namespace=namespace).json["changed"]
        assert done_well("status", namespace=namespace).stdout.startswith(f"in-sync: {sheet}")
        assert not done_well(*install, namespace=namespace).json["changed"]
        done_well("uninstall", namespace=namespace)
        assert by_chain(dump(namespace)) == by_chain(before)


@pytest.mark.parametrize("by", ["its own tool", "the sheet"])
@pytest.mark.parametrize("name", OLD)
def test_moving_on_to_sidecar_leaves_no_moment_without_interception(
    pod: Pod, rule_path: RulePath, name: str, by: str
) -> None:
    here = pod.pod
    before = dump(here)
    if by == "the sheet":
        done_well("install", "--sheet", name, *rule_path.flags, namespace=here)
    else:
        tool = "iptables-nft" if rule_path.name == "nftables" else rule_path.name
        LEFT[name].put(here, tool)
    with recorder(here, 15001, 15003, 15006, _APP), recorder(pod.outside, 80):
        old = _who_takes_it(pod)
        calls = _Calls(pod)
        try:
            done_well("install", *rule_path.flags, namespace=here)
        finally:
            seen = calls.stop()
        assert seen <= {old[0], old[1], ("in", 15006), ("out", 15001)}, seen
        assert _who_takes_it(pod) == (("in", 15006), ("out", 15001))
        assert done_well("status", namespace=here).stdout.startswith("in-sync: sidecar")
    done_well("uninstall", namespace=here)
    assert by_chain(dump(here)) == by_chain(before)


def _who_takes_it(pod: Pod) -> tuple[tuple[str, object], tuple[str, object]]:
    """Say which port a connection comes to that goes in, and one that goes out, by root."""
    inbound = connect(pod.client, POD[4], _APP, uid=0, gid=0)
    outbound = connect(pod.pod, FAR[4], 80, uid=0, gid=0)
    return ("in", inbound.get("port", inbound)), ("out", outbound.get("port", str(outbound)))


_ENOUGH = 10


class _Calls:
    """Connections both ways, one after the other, until told to stop; by root, as it is safe."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._seen: set[tuple[str, object]] = set()
        self._rounds = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._seen.update(_who_takes_it(self._pod))
            self._rounds += 1

    def stop(self) -> set[tuple[str, object]]:
        """Give all that was seen, once there were enough."""
        enough = becomes(lambda: self._rounds > _ENOUGH, 20)
        self._stopped.set()
        self._thread.join()
        assert enough
        return self._seen


_OSM_PROXY = Proxy(15003, 15001, 1500, 1500, hands_over=False, app_port=_APP)
_0_1_PROXY = Proxy(15001, 15001, 1337, 1337, hands_over=False, app_port=_APP)
_AS_HANDED = {4: "127.0.0.6", 6: "::6"}
_AS_LOCALHOST = {4: "127.0.0.1", 6: "127.0.0.1"}


_FROM_OSM = (
    *("--inbound-port", "15003", "--proxy-uid", "1500", "--proxy-gid", ""),
    *("--exclude-inbound-ports", "15010,15901-15904"),
)
_FROM_0_1 = ("--inbound-port", "15001")


class Run(NamedTuple):
    """A sheet, its Envoy, whom the app sees, what is direct, and whether calls by lo are not.

    ``moves_by`` are the flags with which ``sidecar`` serves that Envoy as well.
    """

    sheet: str
    proxy: Proxy
    sees: dict[int, str]
    direct: tuple[int, ...]
    takes_lo: bool
    moves_by: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "run",
    [
        Run("osm", _OSM_PROXY, _AS_LOCALHOST, (15010, 15901), takes_lo=False, moves_by=_FROM_OSM),
        Run("istio-1.5", Proxy(), _AS_HANDED, (22, 15020), takes_lo=True),
        Run("istio-0.1", _0_1_PROXY, _AS_LOCALHOST, (), takes_lo=True, moves_by=_FROM_0_1),
    ],
    ids=lambda run: run.sheet,
)
def test_a_real_envoy_both_ways(pod: Pod, rule_path: RulePath, tmp_path: Path, run: Run) -> None:
    with (
        web_server(pod.pod, _APP, *run.direct),
        web_server(pod.outside, 80),
        running_envoy(pod.pod, tmp_path, run.proxy) as envoy,
    ):
        flags = ("--sheet", run.sheet, "--ip-families", "dual", *rule_path.flags)
        done_well("install", *flags, namespace=pod.pod)
        mesh = Mesh(pod, envoy)
        for version in (4, 6):
            here = f"hello from pod, you are {run.sees[version]}"
            body, [entry] = mesh.ask(pod.client, POD[version], _APP)
            assert (body, entry["listener"]) == (here, "inbound")
            body, [entry] = mesh.ask(pod.pod, FAR[version], 80)
            assert body == f"hello from outside, you are {POD_SIDE[version]}"
            assert entry["listener"] == "outbound"
            for port in run.direct:
                body, entries = mesh.ask(pod.client, POD[version], port, passes=0)
                assert (body, entries) == (f"hello from pod, you are {CLIENT[version]}", [])
            uid = run.proxy.uid
            body, entries = mesh.ask(pod.pod, FAR[version], 80, uid=uid, passes=0)
            assert (body.startswith("hello from outside"), entries) == (True, [])
            body, [entry] = mesh.ask(pod.pod, POD[version], _APP, uid=uid)
            assert (body, entry["listener"]) == (here, "inbound")
            body, entries = mesh.ask(pod.pod, POD[version], _APP, passes=int(run.takes_lo))
            assert body == (here if run.takes_lo else f"hello from pod, you are {POD[version]}")
            assert [one["listener"] for one in entries] == ["inbound"] * run.takes_lo
        done_well("install", *rule_path.flags, *run.moves_by, namespace=pod.pod)
        assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync: sidecar")
        for version in (4, 6):
            body, [entry] = mesh.ask(pod.client, POD[version], _APP)
            assert (body, entry["listener"]) == (
                f"hello from pod, you are {run.sees[version]}",
                "inbound",
            )
            body, [entry] = mesh.ask(pod.pod, FAR[version], 80)
            assert (body.startswith("hello from outside"), entry["listener"]) == (True, "outbound")
            body, entries = mesh.ask(pod.pod, POD[version], _APP, passes=0)
            assert (body, entries) == (f"hello from pod, you are {POD[version]}", [])

        done_well("install", *flags, namespace=pod.pod)
        done = done_well("verify", "--output", "json", namespace=pod.pod)
        assert set(done.json["proxy_ports"]) == {run.proxy.inbound, run.proxy.outbound}


def test_verify_finds_a_pod_address_that_is_not_the_pods(pod: Pod, rule_path: RulePath) -> None:
    for address, code in ((POD[4], 0), ("192.0.2.99", 126)):
        flags = ("--sheet", "osm", "--option", f"pod_address={address}", *rule_path.flags)
        done_well("install", *flags, namespace=pod.pod)
        done = interceptor("verify", "--output", "json", namespace=pod.pod)
        assert done.code == code, done
        [handed] = [c for c in done.json["connections"] if "dnat" in c["expected"]]
        assert handed["ok"] is (code == 0)


def test_at_the_pods_address_osms_envoy_reaches_an_app_that_is_not_on_localhost(
    pod: Pod, rule_path: RulePath, tmp_path: Path
) -> None:
    proxy = _OSM_PROXY._replace(app_port=_AT_ITS_ADDRESS)
    flags = ("install", "--sheet", "osm", *rule_path.flags)
    with recorder(pod.pod, _AT_ITS_ADDRESS, on=POD), running_envoy(pod.pod, tmp_path, proxy):
        done_well(*flags, namespace=pod.pod)
        assert connect(pod.client, POD[4], _AT_ITS_ADDRESS) in (
            {"error": "closed"},
            {"error": "ConnectionResetError"},
        )
        done_well(*flags, "--option", f"pod_address={POD[4]}", namespace=pod.pod)
        answer = connect(pod.client, POD[4], _AT_ITS_ADDRESS)
        assert (answer["who"], answer["peer"]) == ("pod", "127.0.0.1")
        assert answer["original"] == f"127.0.0.1:{_AT_ITS_ADDRESS}"
