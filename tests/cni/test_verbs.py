"""Each verb in a real namespace: what it does there, prints, writes down and forgets."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.cni import netconf
from interceptor.cni.protocol import VERBS, Call
from interceptor.cni.verbs import delete
from interceptor.errors import DeadlineError, HostError
from tests.lab.netns import namespaces
from tests.lab.paths import IPTABLES_LEGACY, NFTABLES, RulePath, dump, interceptor
from tests.lab.plugin import PREV_RESULT, Network, call
from tests.lab.pod import FAR, POD
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_NOT_THERE = "/run/netns/iv-there-is-none"


def settings_of(path: RulePath) -> dict[str, str]:
    """Give a rule path's flags as settings."""
    names = [flag.removeprefix("--").replace("-", "_") for flag in path.flags[::2]]
    return dict(zip(names, path.flags[1::2], strict=True))


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path / "state")


def test_add_intercepts_and_passes_the_result_on_to_the_byte(
    pod: Pod, rule_path: RulePath, tmp_path: Path
) -> None:
    network = Network(tmp_path / "state", settings=settings_of(rule_path))
    with recorder(pod.pod, 15001, 15006), recorder(pod.outside, 80):
        assert network.add(pod.pod.path).stdout == PREV_RESULT
        inbound = connect(pod.client, POD[4], 8080)
        outbound = connect(pod.pod, FAR[6], 80)
    assert (inbound["port"], inbound["original"]) == (15006, f"{POD[4]}:8080")
    assert (outbound["port"], outbound["original"]) == (15001, f"[{FAR[6]}]:80")
    status = interceptor("status", "--output", "json", namespace=pod.pod).json
    assert (status["state"], status["backend"]) == ("in-sync", str(rule_path))


def test_every_version_of_cni_is_spoken(pod: Pod, tmp_path: Path) -> None:
    for version in ("0.3.1", "0.4.0", "1.0.0", "1.1.0"):
        network = Network(tmp_path / version, version=version)
        assert network.add(pod.pod.path).stdout == PREV_RESULT
        assert network.call("DEL", pod.pod.path).status == 0


def test_a_result_without_a_version_gets_the_configurations(pod: Pod, network: Network) -> None:
    assert json.loads(network.add(pod.pod.path, prev_result='{ "ips": []}').stdout) == {
        "cniVersion": "1.0.0",
        "ips": [],
    }
    assert network.add(pod.pod.path, prev_result="{}").stdout == '{"cniVersion":"1.0.0"}'


def test_null_is_nothing_as_it_is_to_go(pod: Pod, network: Network) -> None:
    text = network.conf(runtimeConfig=None, args=None, unknown=[1])
    text["interceptor"] = None
    answer = call(
        f'{json.dumps(text)[:-1]}, "prevResult": {PREV_RESULT}}}',
        CNI_COMMAND="ADD",
        CNI_CONTAINERID="c1",
        CNI_NETNS=pod.pod.path,
        CNI_IFNAME="eth0",
        CNI_PATH="/opt/cni/bin",
    )
    # Our defaults, and a runtime that says nothing of annotations.
    assert (answer.error["code"], "pod annotations" in answer.error["msg"]) == (7, True)


def test_adding_again_changes_nothing(pod: Pod, network: Network) -> None:
    assert network.add(pod.pod.path).log["result"] == "installed"
    before = dump(pod.pod)
    assert network.add(pod.pod.path).log["result"] == "already in place"
    assert dump(pod.pod) == before


def test_adding_with_other_settings_replaces_the_rules(pod: Pod, tmp_path: Path) -> None:
    Network(tmp_path, settings={"inbound_port": 16006}).add(pod.pod.path)
    network = Network(tmp_path, settings={"exclude_inbound_ports": [8081, "9000-9010"]})
    network.add(pod.pod.path)
    assert network.call("CHECK", pod.pod.path).status == 0
    assert "16006" not in dump(pod.pod)
    assert "9000-9010" in dump(pod.pod)


@pytest.mark.parametrize("prev_result", ["", "null"])
def test_add_alone_in_a_list_is_refused(pod: Pod, network: Network, prev_result: str) -> None:
    before = dump(pod.pod)
    error = network.call("ADD", pod.pod.path, prev_result=prev_result).error
    assert error["code"] == 7
    assert "chained" in error["msg"]
    assert dump(pod.pod) == before


def test_the_hosts_namespace_is_never_touched(network: Network) -> None:
    for path in ("/proc/self/ns/net", "/proc/1/ns/net"):
        for verb in ("ADD", "CHECK"):
            error = network.call(verb, path).error
            assert (error["code"] == 8) == (verb == "ADD"), error
        assert network.call("DEL", path).status == 0
    assert network.attachments == []


def test_del_removes_what_add_made(pod: Pod, rule_path: RulePath, tmp_path: Path) -> None:
    network = Network(tmp_path / "state", settings=settings_of(rule_path))
    before = dump(pod.pod)
    network.add(pod.pod.path)
    assert network.attachments == ["c1@eth0.json"]
    answer = network.call("DEL", pod.pod.path)
    assert (answer.status, answer.stdout) == (0, "")
    assert dump(pod.pod) == before
    assert network.attachments == []


def test_del_again_and_of_nothing_succeeds(pod: Pod, network: Network) -> None:
    network.add(pod.pod.path)
    for netns, prev_result in (
        (pod.pod.path, PREV_RESULT),
        (pod.pod.path, ""),
        ("", ""),
        (_NOT_THERE, PREV_RESULT),
    ):
        answer = network.call("DEL", netns, prev_result=prev_result)
        assert (answer.status, answer.stdout) == (0, ""), answer


def test_del_without_a_namespace_forgets_the_attachment(pod: Pod, network: Network) -> None:
    network.add(pod.pod.path)
    assert network.call("DEL", "", prev_result="").status == 0
    assert network.attachments == []


def test_del_leaves_what_it_did_not_make(pod: Pod, network: Network) -> None:
    interceptor("install", namespace=pod.pod)
    before = dump(pod.pod)
    assert network.call("DEL", pod.pod.path).status == 0
    assert dump(pod.pod) == before


def test_del_of_one_of_two_interfaces_leaves_the_pod_intercepted(
    pod: Pod, network: Network
) -> None:
    network.add(pod.pod.path)
    network.add(pod.pod.path, container="c2")
    network.call("DEL", pod.pod.path)
    assert network.call("CHECK", pod.pod.path, container="c2").status == 0
    network.call("DEL", pod.pod.path, container="c2")
    assert "interceptor" not in dump(pod.pod)


def test_del_goes_through_whatever_our_own_part_of_the_list_says(
    pod: Pod, network: Network
) -> None:
    network.add(pod.pod.path)
    network.own["seletcor"] = ["*"]
    assert network.call("ADD", pod.pod.path).error["code"] == 7
    assert network.call("DEL", pod.pod.path).status == 0
    assert network.attachments == []


def test_del_forgets_an_attachment_that_cannot_be_read(pod: Pod, network: Network) -> None:
    network.add(pod.pod.path)
    (network.state / "c1@eth0.json").write_text("{")
    assert network.call("CHECK", pod.pod.path).error["code"] == 5
    answer = network.call("DEL", pod.pod.path)
    assert answer.status == 0
    assert "cannot be read" in answer.log["warnings"][0]
    assert network.attachments == []


@pytest.mark.parametrize("fault", [OSError(5, "I/O"), HostError("no nft"), DeadlineError("slow")])
def test_a_pod_goes_also_if_its_rules_cannot_be_taken_out(
    pod: Pod, network: Network, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.add(pod.pod.path)

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(delete, "_uninstall", fail)
    called = Call(VERBS["DEL"], "c1", pod.pod.path, "eth0")
    notes: dict[str, Any] = {}
    assert delete.run(called, netconf.read(network.text().encode(), called), notes) == b""
    assert str(fault) in notes["warnings"]
    assert network.attachments == []


def test_check_finds_what_is_missing_and_what_is_out_of_order(
    pod: Pod, rule_path: RulePath, tmp_path: Path
) -> None:
    network = Network(tmp_path / "state", settings=settings_of(rule_path))
    network.add(pod.pod.path)
    assert network.call("CHECK", pod.pod.path).status == 0
    spoil(pod, rule_path)
    error = network.call("CHECK", pod.pod.path).error
    assert error["code"] == 102
    assert "missing-rule" in error["details"] or "moved-rule" in error["details"]
    network.add(pod.pod.path)
    assert network.call("CHECK", pod.pod.path).status == 0
    reorder(pod, rule_path)
    error = network.call("CHECK", pod.pod.path).error
    assert (error["code"], "moved-rule" in error["details"]) == (102, True)


def spoil(pod: Pod, path: RulePath) -> None:
    """Take the first rule of a chain away."""
    if path is NFTABLES:
        handle = first_handle(pod)
        pod.pod.run("nft", "delete", "rule", *_CHAIN, "handle", handle)
    else:
        pod.pod.run(tool(path), "-t", "nat", "-D", "INTERCEPTOR_OUTBOUND", "1")


def reorder(pod: Pod, path: RulePath) -> None:
    """Move the first rule of a chain to its end."""
    if path is NFTABLES:
        handle = first_handle(pod)
        pod.pod.run("nft", "delete", "rule", *_CHAIN, "handle", handle)
        words = "meta skuid 1337 counter goto interceptor-proxy comment"
        pod.pod.run("nft", "add", "rule", *_CHAIN, *words.split(), '"made by the proxy: its user"')
    else:
        listed = pod.pod.run(tool(path), "-t", "nat", "-S", "INTERCEPTOR_OUTBOUND").splitlines()
        rule = next(line for line in listed if line.startswith("-A"))
        spoil(pod, path)
        pod.pod.run("sh", "-c", f"{tool(path)} -t nat {rule}")


_CHAIN = ("inet", "interceptor", "interceptor-outbound")


def first_handle(pod: Pod) -> str:
    listed = json.loads(pod.pod.run("nft", "-j", "list", "chain", *_CHAIN))["nftables"]
    return str(next(item["rule"]["handle"] for item in listed if "rule" in item))


def tool(path: RulePath) -> str:
    return "iptables-legacy" if path is IPTABLES_LEGACY else "iptables-nft"


def test_check_is_not_fooled_by_the_record_in_the_pod(pod: Pod, network: Network) -> None:
    network.add(pod.pod.path)
    # Whoever is root in the pod installs other rules, with a record that fits them.
    interceptor("install", "--exclude-outbound-ports", "443", namespace=pod.pod)
    assert interceptor("status", namespace=pod.pod).code == 0
    assert network.call("CHECK", pod.pod.path).error["code"] == 102


def test_check_of_a_meshed_pod_that_was_never_added_fails(pod: Pod, network: Network) -> None:
    assert network.call("CHECK", pod.pod.path).error["code"] == 102
    network.own["selector"] = ["team=a"]
    assert network.call("CHECK", pod.pod.path, annotations={}).status == 0


def test_check_knows_another_namespace_at_the_same_path(pod: Pod, network: Network) -> None:
    network.add(pod.pod.path)
    error = network.call("CHECK", pod.client.path).error
    assert (error["code"], "another network namespace" in error["msg"]) == (102, True)


def test_check_needs_the_previous_result(pod: Pod, network: Network) -> None:
    assert network.call("CHECK", pod.pod.path, prev_result="").error["code"] == 7


def test_gc_forgets_what_is_not_valid_any_more_in_its_own_network(
    pod: Pod, tmp_path: Path
) -> None:
    network = Network(tmp_path, version="1.1.0")
    for container in ("c1", "c2"):
        network.add(pod.pod.path, container=container)
    network.add(pod.client.path, container="c3", name="other")
    valid: dict[str, Any] = {
        "cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]
    }
    answer = network.call("GC", prev_result="", **valid)
    assert (answer.status, answer.stdout, answer.log["removed"]) == (0, "", 1)
    assert network.attachments == ["c2@eth0.json", "c3@eth0.json"]
    assert network.call("GC", prev_result="").error["code"] == 7
    valid["cni.dev/valid-attachments"] = []
    assert network.call("GC", prev_result="", **valid).status == 0
    assert network.attachments == ["c3@eth0.json"]


def test_status_says_whether_an_add_could_be_served(tmp_path: Path) -> None:
    network = Network(tmp_path, version="1.1.0")
    answer = network.call("STATUS", prev_result="")
    assert (answer.status, answer.stdout) == (0, "")
    for own in (
        {"settings": {"sheet": "nobodys"}},
        {"settings": {"inbound_port": 0}},
        {"settings": {"netns": "/x"}},
        {"selector": ["a b"]},
        {"ready_file": str(tmp_path / "ready")},
        {"state_dir": "/proc/nowhere"},
    ):
        error = Network(tmp_path, version="1.1.0", **own).call("STATUS", prev_result="").error
        assert error["code"] == 50, own


def test_no_meshed_pod_starts_before_the_agent_is_ready(pod: Pod, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    network = Network(tmp_path / "state", ready_file=str(ready), selector=["team=a"])
    meshed, other = {"team": "a"}, {"team": "b"}
    before = dump(pod.pod)
    assert network.call("ADD", pod.pod.path, annotations=meshed).error["code"] == 11
    assert dump(pod.pod) == before
    assert network.attachments == []
    assert network.add(pod.pod.path, annotations=other).log["result"] == "left alone"
    ready.touch()
    assert network.add(pod.pod.path, annotations=meshed).log["result"] == "installed"


def test_what_fails_leaves_the_namespace_and_the_state_as_they_were(
    pod: Pod, tmp_path: Path
) -> None:
    network = Network(tmp_path / "state")
    before = dump(pod.pod)
    refused = Network(tmp_path / "state", settings={"sheet": "istio"})
    error = refused.call("ADD", pod.pod.path).error
    assert (error["code"], "unproven" in error["details"]) == (7, True)
    assert (dump(pod.pod), network.attachments) == (before, [])
    network.add(pod.pod.path)
    kept, written = dump(pod.pod), (network.state / "c1@eth0.json").read_text()
    assert refused.call("ADD", pod.pod.path).status == 1
    assert (dump(pod.pod), (network.state / "c1@eth0.json").read_text()) == (kept, written)


def test_a_state_directory_that_cannot_be_is_an_error_and_nothing_is_installed(pod: Pod) -> None:
    before = dump(pod.pod)
    own = {"cniVersion": "1.0.0", "name": "net", "type": "interceptor-cni"}
    own["interceptor"] = {"selector": ["*"], "state_dir": "/proc/nowhere"}  # type: ignore[assignment]
    text = f'{json.dumps(own)[:-1]}, "prevResult": {PREV_RESULT}}}'
    answer = call(
        text,
        CNI_COMMAND="ADD",
        CNI_CONTAINERID="c1",
        CNI_NETNS=pod.pod.path,
        CNI_IFNAME="eth0",
        CNI_PATH="/opt/cni/bin",
    )
    assert answer.error["code"] == 5
    assert dump(pod.pod) == before


@pytest.mark.parametrize("path", [NFTABLES, IPTABLES_LEGACY], ids=str)
def test_twenty_at_once_lose_nothing(path: RulePath, tmp_path: Path) -> None:
    network = Network(tmp_path / "state", settings=settings_of(path))
    with namespaces(*["pod"] * 20) as pods, ThreadPoolExecutor(20) as at_once:
        paths = [pod.path for pod in pods]
        adds = at_once.map(
            lambda n: network.call("ADD", paths[n], container=f"c{n}"), range(len(paths))
        )
        assert [(answer.status, answer.stdout) for answer in adds] == [(0, PREV_RESULT)] * 20
        assert len(network.attachments) == 20
        checks = at_once.map(
            lambda n: network.call("CHECK", paths[n], container=f"c{n}"), range(len(paths))
        )
        assert [answer.status for answer in checks] == [0] * 20


def test_a_lock_of_the_hosts_iptables_holds_up_no_pod(pod: Pod, tmp_path: Path) -> None:
    network = Network(tmp_path, settings={**settings_of(IPTABLES_LEGACY), "timeout": 5})
    with open("/run/xtables.lock", "w") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        assert network.add(pod.pod.path).log["backend"] == "iptables-legacy"


def test_the_environment_is_not_needed(pod: Pod, network: Network) -> None:
    # network.call passes the variables of CNI alone: no PATH, no HOME, no LANG.
    assert network.add(pod.pod.path).status == 0


def test_a_poisoned_environment_does_nothing(pod: Pod, network: Network, tmp_path: Path) -> None:
    (tmp_path / "nft").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "nft").chmod(0o755)
    answer = call(
        network.text(),
        CNI_COMMAND="ADD",
        CNI_CONTAINERID="c1",
        CNI_NETNS=pod.pod.path,
        CNI_IFNAME="eth0",
        CNI_PATH="/opt/cni/bin",
        PATH=str(tmp_path),
        INTERCEPTOR_INBOUND_PORT="1",
        INTERCEPTOR_NO_SUCH="1",
        LANG="xx_YY",
        TMPDIR="/nowhere",
    )
    assert answer.status == 0
    assert "15006" in dump(pod.pod)
