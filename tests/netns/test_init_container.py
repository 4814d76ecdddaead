"""What an init container has: one capability or two, and nowhere to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.paths import IPTABLES_LEGACY, RulePath, dump, interceptor

if TYPE_CHECKING:
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_READ_ONLY = 'mount --bind / / && mount -o remount,ro,bind / && cd / && exec "$@"'


def as_init_container(capabilities: str) -> tuple[str, ...]:
    """Give the words before a command: a read-only root, and only these capabilities."""
    return (
        *("unshare", "--mount", "/bin/sh", "-c", _READ_ONLY, "sh"),
        *("setpriv", f"--bounding-set=-all,{capabilities}", "--inh-caps=-all", "--no-new-privs"),
    )


def test_install_and_uninstall_with_nothing_to_spare(pod: Pod, rule_path: RulePath) -> None:
    needs = "+net_admin,+net_raw" if rule_path is IPTABLES_LEGACY else "+net_admin"
    before = dump(pod.pod)
    with pod.pod:
        prefix = as_init_container(needs)
        installed = interceptor("install", *rule_path.flags, prefix=prefix)
        assert installed.code == 0, installed
        again = interceptor("install", *rule_path.flags, "--output", "json", prefix=prefix)
        assert not again.json["changed"]
        assert interceptor("status", prefix=prefix).code == 0
        assert interceptor("uninstall", prefix=prefix).code == 0
    assert dump(pod.pod) == before


def test_it_says_which_capability_legacy_wants(pod: Pod) -> None:
    with pod.pod:
        prefix = as_init_container("+net_admin")
        done = interceptor("install", *IPTABLES_LEGACY.flags, prefix=prefix)
    assert done.code == 4
    assert "NET_RAW" in done.stderr


def test_settings_from_the_environment(pod: Pod) -> None:
    """As a pod's manifest gives them."""
    with pod.pod:
        done = interceptor(
            *("install", "--output", "json"),
            environment={
                "INTERCEPTOR_BACKEND": "nftables",
                "INTERCEPTOR_EXCLUDE_INBOUND_PORTS": "9090,9100-9110",
                "INTERCEPTOR_SERVICE_HOST": "10.0.0.1",
            },
            prefix=as_init_container("+net_admin"),
        )
    assert done.code == 0, done
    (rules,) = (step["stdin"] for step in done.json["steps"] if "-f" in step["argv"])
    assert "tcp dport { 9090, 9100-9110 }" in rules
