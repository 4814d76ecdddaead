"""verify where programs at sockets enforce the policy: nothing is translated, they tell."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.backends.ebpf.machine import Machine
from interceptor.system.deadline import Deadline
from tests.lab.ebpf import config_for
from tests.lab.ebpf_node import ebpf_node
from tests.lab.netns import namespaces
from tests.lab.paths import EBPF, NFTABLES, done_well, interceptor
from tests.lab.pod import new_pod
from tests.lab.traffic import recorder

if TYPE_CHECKING:
    from tests.lab.paths import Done
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_RICH = (
    *("--exclude-outbound-cidrs", "192.0.2.0/24,10.99.0.0/16", "--exempt-mark", "0x539"),
    *("--proxy-uid", "1337,4000-4005", "--exclude-outbound-uids", "77"),
    *("--exclude-inbound-ports", "9000-9010", "--exclude-outbound-ports", "3306"),
)


def verify(pod: Pod, *flags: str) -> Done:
    return interceptor("verify", "--output", "json", *flags, namespace=pod.pod)


def what_of(done: Done, what: str) -> list[dict[str, Any]]:
    """Give the connections of one kind, one for each family."""
    return [c for c in done.json["connections"] if c["what"] == what]


def _without_lent(what: str) -> str:
    """Leave out what is chosen anew each time: a free port, an address in a network."""
    what = re.sub(r"-> \[?(10[.]|192[.]).*:", "-> lent:", what)
    return re.sub(r":[3-6]\d{4}$", ":free", what)


def test_all_is_as_with_rules(pod: Pod) -> None:
    """The same connections are made, and the same is seen of each."""
    seen = []
    for path in (NFTABLES, EBPF):
        done_well("install", *path.flags, *_RICH, namespace=pod.pod)
        done = verify(pod)
        assert done.code == 0, done
        assert done.json["remarks"] == []
        seen.append(
            {
                (c["family"], _without_lent(c["what"]), c["seen"], c["why"], c["note"])
                for c in done.json["connections"]
            }
        )
    assert seen[0] == seen[1]


@pytest.mark.parametrize("is_listening", [True, False], ids=["with an app", "without"])
def test_a_running_proxy_has_what_is_sent_to_the_app(pod: Pod, is_listening: bool) -> None:
    """The kernel lists such a connection at the app's own address and port."""
    flags = (*EBPF.flags, "--include-inbound-ports", "8080")
    done_well("install", *flags, namespace=pod.pod)
    with recorder(pod.pod, 15001, 15006, *((8080,) if is_listening else ())):
        done = verify(pod)
    assert done.code == 0, done
    assert (done.json["proxy_ports"], done.json["not_tried"]) == ([15006, 15001], [])
    assert {c["seen"] for c in what_of(done, "tcp outside -> pod:8080")} == {"redirect to 15006"}


def test_an_app_on_a_kept_port_has_its_own(pod: Pod) -> None:
    done_well("install", *EBPF.flags, namespace=pod.pod)
    with recorder(pod.pod, 15001, 15006, 15021):
        done = verify(pod)
    assert done.code == 0, done
    assert {c["seen"] for c in what_of(done, "tcp outside -> pod:15021")} == {"direct"}


def test_what_goes_past_a_running_proxy_is_seen(pod: Pod) -> None:
    """Both the app and the proxy could have taken it."""
    done_well("install", *EBPF.flags, "--include-inbound-ports", "9090", namespace=pod.pod)
    with recorder(pod.pod, 15001, 15006, 8080):
        done = verify(pod, "--include-inbound-ports", "8080,9090")
    found = what_of(done, "tcp outside -> pod:8080")
    assert [(c["expected"], c["seen"]) for c in found] == [("redirect to 15006", "direct")] * 2


def test_what_somebody_changed_in_the_kernel_is_tried_too(pod: Pod) -> None:
    """The policy does not name it, and still it is where traffic goes astray."""
    done_well("install", *EBPF.flags, namespace=pod.pod)
    changed = config_for(pod.pod, ("--exclude-outbound-ports", "4711"))
    with Machine(Deadline(20)) as machine:
        machine.enable(pod.pod._descriptor, changed)
    done = verify(pod)
    assert done.code == 126
    wrong = [c for c in done.json["connections"] if not c["ok"]]
    assert [(c["what"], c["seen"]) for c in wrong] == [("tcp app -> outside:4711", "direct")] * 2


@pytest.mark.parametrize(
    ("program", "ways"),
    [("connect4", {"outbound", "local"}), ("getsockopt", {"outbound", "local"})],
)
def test_a_program_that_was_detached_is_missed(pod: Pod, program: str, ways: set[str]) -> None:
    with ebpf_node() as node:
        node.done_well("install", *EBPF.flags, "--ip-families", "ipv4", namespace=pod.pod)
        (node.pins / "links" / program).unlink()
        done = node.call("verify", "--output", "json", namespace=pod.pod)
    assert done.code == 126
    assert {c["way"] for c in done.json["connections"] if not c["ok"]} == ways


def test_several_at_once_do_not_disturb_one_another(pod: Pod) -> None:
    """Decisions about one pod are no business of who verifies another."""
    with new_pod() as other, ThreadPoolExecutor() as pool, ExitStack() as proxies:
        pods = (pod, other)
        for one in pods:
            done_well("install", *EBPF.flags, namespace=one.pod)
            proxies.enter_context(recorder(one.pod, 15001, 15006, 22))
        for _ in range(2):
            runs = [pool.submit(verify, one) for one in pods]
            codes = [(run.result().code, run.result().json["not_tried"]) for run in runs]
            assert codes == [(0, [])] * 2


def test_a_pod_that_had_no_address_is_not_called_by_it() -> None:
    with namespaces("lonely") as (lonely,):
        lonely.run("ip", "link", "set", "lo", "up")
        done_well("install", *EBPF.flags, "--ip-families", "ipv4", namespace=lonely)
        done = interceptor("verify", "--output", "json", namespace=lonely)
    assert done.code == 0, done
    assert done.json["not_tried"] == [
        "IPv4 from the pod to itself: it had no address when the policy was installed"
    ]
    assert {c["way"] for c in done.json["connections"]} == {"inbound", "outbound", "local"}


def test_install_verifies_at_once(pod: Pod) -> None:
    done = done_well("install", *EBPF.flags, "--verify", namespace=pod.pod)
    assert "all went where they should" in done.stderr
