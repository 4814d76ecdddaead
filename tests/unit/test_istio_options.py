"""The table of istio-iptables' options, against what is known of Istio's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.frontends.help import help_text
from interceptor.frontends.istio.help import HEAD
from interceptor.frontends.istio.options import OPTIONS, TABLE
from interceptor.settings import SETTINGS

if TYPE_CHECKING:
    from interceptor.frontends.istio.option import Option

ISTIO = """\
envoy-port                         p -                               15001
inbound-capture-port               z INBOUND_CAPTURE_PORT            15006
inbound-tunnel-port                e INBOUND_TUNNEL_PORT             15008
proxy-uid                          u PROXY_UID                       -
proxy-gid                          g PROXY_GID                       -
istio-inbound-interception-mode    m ISTIO_INBOUND_INTERCEPTION_MODE -
istio-inbound-ports                b ISTIO_INBOUND_PORTS             -
istio-local-exclude-ports          d ISTIO_LOCAL_EXCLUDE_PORTS       -
istio-exclude-interfaces           c ISTIO_EXCLUDE_INTERFACES        -
istio-service-cidr                 i ISTIO_SERVICE_CIDR              -
istio-service-exclude-cidr         x ISTIO_SERVICE_EXCLUDE_CIDR      -
istio-outbound-ports               q ISTIO_OUTBOUND_PORTS            -
istio-local-outbound-ports-exclude o ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE -
kube-virt-interfaces               k KUBE_VIRT_INTERFACES            -
istio-inbound-tproxy-mark          t ISTIO_INBOUND_TPROXY_MARK       1337
istio-inbound-tproxy-route-table   r ISTIO_INBOUND_TPROXY_ROUTE_TABLE 133
dry-run                            n DRY_RUN                         false
iptables-probe-port                - IPTABLES_PROBE_PORT             15002
probe-timeout                      - PROBE_TIMEOUT                   5s
skip-rule-apply                    - SKIP_RULE_APPLY                 false
run-validation                     - RUN_VALIDATION                  false
redirect-dns                       - REDIRECT_DNS,ISTIO_META_DNS_CAPTURE false
drop-invalid                       - DROP_INVALID,INVALID_DROP       false
dual-stack                         - DUAL_STACK,ISTIO_DUAL_STACK     false
capture-all-dns                    - CAPTURE_ALL_DNS                 false
network-namespace                  - NETWORK_NAMESPACE               -
cni-mode                           - CNI_MODE                        false
reconcile                          - RECONCILE                       false
cleanup-only                       - CLEANUP_ONLY                    false
force-apply                        - FORCE_APPLY                     false
native-nftables                    - NATIVE_NFTABLES                 false
force-iptables-binary              - FORCE_IPTABLES_BINARY           -
ISTIO_OUTBOUND_OWNER_GROUPS         - ISTIO_OUTBOUND_OWNER_GROUPS         *
ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE - ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE -
ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR   - ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR   127.0.0.1/32
ENVOY_USER                          - ENVOY_USER                          istio-proxy
DRY_RUN_FILE_PATH                   - DRY_RUN_FILE_PATH                   -
"""
"""Long flag, short one, variables from weak to strong, default."""


@pytest.mark.parametrize("line", ISTIO.splitlines(), ids=lambda line: line.split()[0])
def test_every_option_of_istio_is_there(line: str) -> None:
    key, *rest = line.split()
    short, environment, default = ("" if text == "-" else text for text in rest)
    option = OPTIONS[key]
    assert option.short == short
    assert ",".join(option.environment) == environment
    assert option.unset == default
    assert option.setting == "" or option.setting in SETTINGS


def test_no_option_is_there_that_istio_has_not_but_ours() -> None:
    listed = {line.split()[0] for line in ISTIO.splitlines()}
    others = {key for key in OPTIONS if key not in listed and not key.startswith("log_")}
    assert others == {"lenient", "output", "timeout", "debug", "help", "vklog"}


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.key)
def test_the_help_has_every_option(option: Option) -> None:
    text = help_text(HEAD, TABLE)
    for name in (option.key, option.help, option.default, *option.environment):
        assert name in text
    assert all(len(line) <= 99 for line in text.splitlines())
