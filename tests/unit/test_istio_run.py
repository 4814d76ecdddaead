"""What istio-iptables' flags make a run do, apart from the rules."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
import pytest

from interceptor.frontends.istio.command_line import parse
from interceptor.frontends.istio.translate import Facts, Run, run_of, run_settings, translate

FACTS = Facts(addresses=(ip_address("10.1.0.1"),))
NOTHING = Run(
    cleanup_only=False,
    reconcile=False,
    force_apply=False,
    skip_rule_apply=False,
    run_validation=False,
    probe_port=15002,
    probe_timeout=5.0,
    dry_run=False,
    dry_run_file="",
    network_namespace="",
    cni_mode=False,
)


@pytest.mark.parametrize(
    ("words", "environment", "change"),
    [
        ("", {}, {}),
        ("--cleanup-only", {}, {"cleanup_only": True}),
        ("--reconcile", {}, {"reconcile": True}),
        ("--force-apply", {}, {"force_apply": True}),
        (
            "--run-validation --skip-rule-apply",
            {},
            {"run_validation": True, "skip_rule_apply": True},
        ),
        (
            "--iptables-probe-port 9",
            {"PROBE_TIMEOUT": "1m"},
            {"probe_port": 9, "probe_timeout": 60},
        ),
        ("-n", {"DRY_RUN_FILE_PATH": "/x"}, {"dry_run": True, "dry_run_file": "/x"}),
        ("--cni-mode", {"NETWORK_NAMESPACE": "/n"}, {"cni_mode": True, "network_namespace": "/n"}),
    ],
)
def test_what_a_run_is_to_do(
    words: str, environment: dict[str, str], change: dict[str, object]
) -> None:
    given = parse(words.split(), environment)
    assert run_of(given) == msgspec.structs.replace(NOTHING, **change)
    assert translate(given, FACTS).run == run_of(given)


def test_settings_of_the_run_need_nothing_looked_up() -> None:
    given = parse(["--network-namespace", "/n", "--output=json", "--cleanup-only"], {})
    assert run_settings(given) == {"netns": "/n", "output": "json", "debug": "false"}
