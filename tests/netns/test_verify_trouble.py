"""verify where something is in the way: it says what, in time, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.lab.netns import namespaces
from tests.lab.paths import PROGRAM, RulePath, done_well, dump, interceptor
from tests.lab.traffic import recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


def everything(namespace: Namespace) -> list[str]:
    """Give all that verify could leave behind: links, addresses, routes, rules."""
    assert becomes(lambda: not namespace.run("ip", "-o", "addr", "show", "tentative"))
    asked = (
        ("ip", "-br", "link"),
        ("ip", "-br", "addr"),
        ("ip", "-4", "route", "show", "table", "all"),
        ("ip", "-6", "route", "show", "table", "all"),
        ("ip", "rule"),
        ("ip", "-6", "rule"),
    )
    return [*(namespace.run(*argv) for argv in asked), dump(namespace)]


def drop(namespace: Namespace, hook: str, tool: str) -> None:
    """Throw away all that passes a hook of the filter table, as somebody else's rule."""
    if tool == "nft":
        policy = f"type filter hook {hook.lower()} priority 0; policy drop;"
        namespace.run("nft", "add table inet theirs")
        namespace.run("nft", f"add chain inet theirs c {{ {policy} }}")
        return
    for command in (tool, tool.replace("ip", "ip6", 1)):
        namespace.run(command, "-P", hook, "DROP")


@pytest.mark.parametrize("hook", ["INPUT", "OUTPUT"])
@pytest.mark.parametrize("tool", ["nft", "iptables-nft", "iptables-legacy"])
def test_foreign_rules_that_drop(pod: Pod, hook: str, tool: str) -> None:
    done_well("install", namespace=pod.pod)
    drop(pod.pod, hook, tool)
    before = everything(pod.pod)
    began = time.monotonic()
    done = interceptor("verify", "--timeout", "10", "--output", "json", namespace=pod.pod)
    assert time.monotonic() - began < 8
    assert done.code == 126, done
    assert everything(pod.pod) == before
    seen = {c["seen"] for c in done.json["connections"] if c["way"] != "inbound"}
    assert "no answer" in seen
    assert not any(c["ok"] for c in done.json["connections"])
    assert len({c["family"] for c in done.json["connections"]}) == 2, "both were tried"


def test_it_ends_in_time_and_leaves_nothing(pod: Pod) -> None:
    done_well("install", namespace=pod.pod)
    drop(pod.pod, "INPUT", "nft")
    before = everything(pod.pod)
    began = time.monotonic()
    done = interceptor("verify", "--timeout", "1", namespace=pod.pod)
    assert time.monotonic() - began < 3
    assert done.code == 126, done
    assert "✗" in done.stdout, "what there is is shown"
    assert "the time was up" in done.stdout + done.stderr
    assert everything(pod.pod) == before


def test_killed_it_leaves_nothing(pod: Pod) -> None:
    done_well("install", "--exclude-outbound-cidrs", "10.128.0.0/9,fd80::/9", namespace=pod.pod)
    drop(pod.pod, "INPUT", "nft")
    before = everything(pod.pod)
    with subprocess.Popen(
        [PROGRAM, "verify", "--netns", pod.pod.path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as verifying:
        assert becomes(lambda: " dev iv" in pod.pod.run("ip", "-6", "route"))
        verifying.send_signal(signal.SIGKILL)
        assert verifying.wait() == -signal.SIGKILL
    assert becomes(lambda: everything(pod.pod) == before), everything(pod.pod)
    done_well("status", namespace=pod.pod)


def test_lo_is_down(pod: Pod) -> None:
    done_well("install", namespace=pod.pod)
    pod.pod.run("ip", "link", "set", "lo", "down")
    done = interceptor("verify", namespace=pod.pod)
    assert done.code == 126
    assert "note: lo is down in this namespace: " in done.stderr
    assert "ip link set lo up" in done.stderr
    done = interceptor("verify", "--output", "json", namespace=pod.pod)
    assert [remark[:10] for remark in done.json["remarks"]] == ["lo is down"]


def test_a_namespace_just_made(rule_path: RulePath) -> None:
    """As ``ip netns add`` leaves it, without any interface that is up."""
    with namespaces("bare") as (bare,):
        bare.run("ip", "addr", "flush", "dev", "lo")
        bare.run("ip", "link", "set", "lo", "down")
        before = everything(bare)
        done_well("install", *rule_path.flags, namespace=bare)
        installed = everything(bare)
        done = done_well("verify", namespace=bare)
        assert "note: no interface is up in this namespace yet" in done.stderr
        assert everything(bare) == installed
        done_well("status", namespace=bare)
        done_well("uninstall", namespace=bare)
        assert everything(bare) == before


def test_nothing_could_be_tried(pod: Pod) -> None:
    """That is no success: nothing is known."""
    for where in ("all", "default"):
        pod.pod.sysctl(f"ipv6/conf/{where}/disable_ipv6", "1")
    done = interceptor("verify", "--ip-families", "ipv6", namespace=pod.pod)
    assert done.code == 4
    assert "nothing could be tried" in done.stderr
    assert "not tried: IPv6: the namespace has it switched off" in done.stderr
    assert "all went" not in done.stderr
    assert "proxy" not in done.stderr


def test_ipv6_that_is_off_for_new_interfaces_alone_is_tried(pod: Pod) -> None:
    pod.pod.sysctl("ipv6/conf/default/disable_ipv6", "1")
    done_well("install", namespace=pod.pod)
    done = done_well("verify", "--output", "json", namespace=pod.pod)
    assert done.json["not_tried"] == []
    assert "ip6" in {c["family"] for c in done.json["connections"]}


def one_document(text: str) -> dict[str, object]:
    """Read one JSON document with nothing after it."""
    document, end = json.JSONDecoder().raw_decode(text)
    assert text[end:] == "\n"
    return dict(document)


def test_install_and_verify_print_one_document(pod: Pod) -> None:
    flags = ("install", "--verify", "--output", "json")
    done = done_well(*flags, namespace=pod.pod)
    facts = one_document(done.stdout)
    assert facts["changed"] is True
    verified = facts["verified"]
    assert isinstance(verified, dict)
    assert verified["ok"] is True

    drop(pod.pod, "INPUT", "nft")
    done = interceptor(*flags, namespace=pod.pod)
    assert done.code == 126
    verified = one_document(done.stdout)["verified"]
    assert isinstance(verified, dict)
    assert verified["ok"] is False


@contextmanager
def silent(namespace: Namespace, port: int) -> Iterator[None]:
    """Listen for IPv4 alone, and never answer."""
    with namespace:
        listener = socket.create_server(("", port))
    with listener:
        yield


@pytest.mark.parametrize("ports", [(), (15001,), (15006,), (15001, 15006)], ids=str)
def test_with_and_without_a_listener(pod: Pod, ports: tuple[int, ...]) -> None:
    done_well("install", namespace=pod.pod)
    with recorder(pod.pod, *ports):
        done = done_well("verify", "--output", "json", namespace=pod.pod)
    assert sorted(done.json["proxy_ports"]) == [*ports]
    for connection in done.json["connections"]:
        if connection["expected"].startswith("redirect to "):
            port = int(connection["expected"].removeprefix("redirect to "))
            note = (
                "taken by the proxy, not passed on"
                if port in ports
                else "original destination recovered"
            )
            assert (connection["seen"], connection["note"]) == (connection["expected"], note)


def test_a_proxy_for_one_family_alone(pod: Pod) -> None:
    """It does not answer either; where a connection went is known all the same."""
    done_well("install", namespace=pod.pod)
    with silent(pod.pod, 15001):
        done = done_well("verify", namespace=pod.pod)
    assert "note: somebody listens on port 15001 for IPv4 and nobody does for IPv6" in done.stderr
    assert "a proxy listens on 15001" in done.stderr


def test_ports_that_may_not_be_listened_on_are_not_tried(pod: Pod) -> None:
    with pod.pod:
        done_well("install")
        done = interceptor(
            *("verify", "--output", "json"),
            prefix=("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-all"),
        )
    assert done.code == 0, done
    assert (
        "tcp outside -> pod:22: listening there needs the capability NET_BIND_SERVICE"
        in (done.json["not_tried"])
    )


def test_users_that_are_not_there_are_not_tried() -> None:
    """In a user namespace that has root alone."""
    script = f"ip link set lo up && {PROGRAM} install && exec {PROGRAM} verify --output json"
    unshare = shutil.which("unshare")
    assert unshare
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--net", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert [what[:42] for what in found["not_tried"]] == [
        "connections as uid 1337, gid 1337: to act "
    ]
    assert "inbound" in {c["way"] for c in found["connections"]}


def test_install_verifies_what_foreign_rules_name_too(pod: Pod) -> None:
    rule = ("-p", "tcp", "--dport", "443", "-j", "ACCEPT")
    pod.pod.run("iptables-nft", "-t", "nat", "-A", "OUTPUT", *rule)
    flags = ("--backend", "iptables", "--iptables-variant", "nft")
    done = interceptor("install", *flags, "--verify", namespace=pod.pod)
    assert done.code == 126
    assert "app -> outside:443" in done.stdout


def test_sigterm_leaves_nothing_lent(pod: Pod) -> None:
    done_well("install", namespace=pod.pod)
    drop(pod.pod, "INPUT", "nft")
    before = everything(pod.pod)
    with subprocess.Popen(
        ["/usr/bin/env", "--default-signal=TERM", PROGRAM, "verify", "--netns", pod.pod.path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as verifying:
        assert becomes(lambda: " dev iv" in pod.pod.run("ip", "-6", "route"))
        verifying.send_signal(signal.SIGTERM)
        assert verifying.wait() == 130
    assert everything(pod.pod) == before


def test_the_highest_marks(pod: Pod) -> None:
    flags = ("--exempt-mark", "0x80000000,0xffffffff")
    done = done_well("install", *flags, "--verify", namespace=pod.pod)
    assert "mark 0x80000000" in done.stdout
