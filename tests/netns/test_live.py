"""What is said of a live namespace: its rules in every language, others' among them, counters."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.paths import RulePath, done_well, dump, interceptor

if TYPE_CHECKING:
    from tests.lab.netns import Namespace
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_INBOUND = ("explain", "inbound", "--to-port", "8080", "--live")
_ISTIO = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020"
_DROPPING = "*filter\n-A INPUT -p tcp --dport 15006 -j DROP\nCOMMIT\n"


def said(namespace: Namespace, *argv: str, code: int = 0) -> Any:
    """Run a command in a namespace and give its JSON."""
    done = interceptor(*argv, "--output", "json", namespace=namespace)
    assert done.code == code, done
    return done.json


def test_what_is_installed_is_explained_and_proven(pod: Pod, rule_path: RulePath) -> None:
    flags = ("--exclude-inbound-ports", "9000", "--mode", "tproxy", "--capture-dns", "all")
    done_well("install", *flags, *rule_path.flags, namespace=pod.pod)
    before = dump(pod.pod)
    assert said(pod.pod, *_INBOUND)["fate"] == "tproxy to 15006"
    excluded = ("explain", "inbound", "--to-port", "9000", "--live")
    assert said(pod.pod, *excluded)["fate"] == "direct"
    # The settings are those recorded at install.
    assert said(pod.pod, "prove", "--live")["proven"]
    done_well("diff", "live", "config", *flags, *rule_path.flags, namespace=pod.pod)
    changed = said(pod.pod, "diff", "live", "config", *flags[2:], *rule_path.flags, code=3)
    assert changed["changes"][0]["where"] == "tcp port 9000"
    assert dump(pod.pod) == before


def test_a_foreign_drop_behind_the_redirect_shows(pod: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, namespace=pod.pod)
    assert said(pod.pod, *_INBOUND)["fate"] == "redirect to 15006"
    pod.pod.run("iptables-nft-restore", "--noflush", stdin=_DROPPING)
    facts = said(pod.pod, *_INBOUND)
    assert facts["fate"] == "drop"
    assert facts["path"][-1]["chain"] == "INPUT"
    proof = said(pod.pod, "prove", "--live", "--property", "capture-total", code=3)
    (captured,) = proof["properties"]
    assert captured["violations"][0]["found"] == "drop"


def test_a_reordered_rule_is_a_difference(pod: Pod, rule_path: RulePath) -> None:
    """After a hand has been at it, the answer is about what is there."""
    done_well("install", *rule_path.flags, namespace=pod.pod)
    if rule_path.name == "nftables":
        rule = "insert rule inet interceptor interceptor-outbound tcp dport 9 return"
        pod.pod.run("nft", rule)
    else:
        tool = rule_path.name
        words = "-t nat -I INTERCEPTOR_OUTBOUND -p tcp --dport 9 -j RETURN"
        pod.pod.run(tool, *words.split())
    facts = said(pod.pod, "diff", "config", "live", *rule_path.flags, code=3)
    wheres = [change["where"] for change in facts["changes"]]
    assert any("port 9 " in where for where in wheres), wheres
    proof = said(pod.pod, "prove", "--live", code=3)
    failed = {one["id"] for one in proof["properties"] if not one["holds"]}
    assert "capture-total" in failed


def test_a_picture_has_counters(pod: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, namespace=pod.pod)
    with pod.pod, socket.socket() as client:
        client.settimeout(0.2)
        client.connect_ex(("203.0.113.9", 80))
    text = said(pod.pod, "graph", "--live", "--format", "mermaid")["text"]
    assert "1 packet" in text


def test_install_refuses_what_is_not_proven(pod: Pod, rule_path: RulePath) -> None:
    before = dump(pod.pod)
    refused = interceptor(
        *("install", "--sheet", "istio", "--mode", "tproxy", "--output", "json"),
        *rule_path.flags,
        namespace=pod.pod,
    )
    assert refused.code == 2
    error = json.loads(refused.stdout)
    assert "loop-free: " in error["error"]
    assert "--unproven" in error["hint"]
    assert dump(pod.pod) == before
    flags = ("--sheet", "istio", "--mode", "tproxy", "--unproven", *rule_path.flags)
    done_well("install", *flags, namespace=pod.pod)
    # Nothing is applied again, so nothing is proven.
    again = [word for word in flags if word != "--unproven"]
    assert not said(pod.pod, "install", *again)["changed"]
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_a_pod_that_istio_set_up_is_explained(pod: Pod, rule_path: RulePath) -> None:
    """Nobody recorded what its rules were made from; to explain them that is not needed."""
    with pod.pod:
        dialect = ("--native-nftables",) if rule_path.name == "nftables" else ()
        variant = rule_path.name.removeprefix("iptables-")
        binary = () if dialect else ("--force-iptables-binary", variant)
        done_well("istio-iptables", *_ISTIO.split(), *dialect, *binary)
    assert said(pod.pod, *_INBOUND)["fate"] == "redirect to 15006"
    assert interceptor("prove", "--live", namespace=pod.pod).code == 2
    proof = said(pod.pod, "prove", "--live", "--sheet", "istio", code=3)
    holds = {one["id"]: one["holds"] for one in proof["properties"]}
    assert holds["capture-total"]
    assert not holds["self-calls"]
