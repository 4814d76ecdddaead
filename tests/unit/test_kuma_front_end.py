"""kumactl's command line and files: what they come to here, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.errors import ConfigError
from interceptor.frontends.kuma.options import TABLE
from interceptor.frontends.kuma.reading import UserExclusion
from interceptor.frontends.kuma.translate import parse, translate, users
from interceptor.layers import DEFAULTS, Layer, resolve

if TYPE_CHECKING:
    from interceptor.frontends.translation import Translation

KUMACTL = """\
kumaDPUser                            kuma-dp-user                                KUMA_DP_USER
redirect.inbound.enabled              redirect-inbound                            REDIRECT_INBOUND_ENABLED
redirect.inbound.port                 redirect-inbound-port                       REDIRECT_INBOUND_PORT
redirect.inbound.includePorts         -                                           REDIRECT_INBOUND_INCLUDE_PORTS
redirect.inbound.excludePorts         exclude-inbound-ports                       REDIRECT_INBOUND_EXCLUDE_PORTS
redirect.inbound.excludePortsForUIDs  -                                           REDIRECT_INBOUND_EXCLUDE_PORTS_FOR_UIDS
redirect.inbound.excludePortsForIPs   exclude-inbound-ips                         REDIRECT_INBOUND_EXCLUDE_PORTS_FOR_IPS
redirect.inbound.insertRedirectInsteadOfAppend redirect-inbound-insert-instead-of-append REDIRECT_INBOUND_INSERT_REDIRECT_INSTEAD_OF_APPEND
redirect.outbound.enabled             -                                           REDIRECT_OUTBOUND_ENABLED
redirect.outbound.port                redirect-outbound-port                      REDIRECT_OUTBOUND_PORT
redirect.outbound.includePorts        -                                           REDIRECT_OUTBOUND_INCLUDE_PORTS
redirect.outbound.excludePorts        exclude-outbound-ports                      REDIRECT_OUTBOUND_EXCLUDE_PORTS
redirect.outbound.excludePortsForUIDs exclude-outbound-ports-for-uids             REDIRECT_OUTBOUND_EXCLUDE_PORTS_FOR_UIDS
redirect.outbound.excludePortsForIPs  exclude-outbound-ips                        REDIRECT_OUTBOUND_EXCLUDE_PORTS_FOR_IPS
redirect.outbound.insertRedirectInsteadOfAppend redirect-outbound-insert-instead-of-append REDIRECT_OUTBOUND_INSERT_REDIRECT_INSTEAD_OF_APPEND
redirect.dns.enabled                  redirect-dns                                REDIRECT_DNS_ENABLED
redirect.dns.port                     redirect-dns-port                           REDIRECT_DNS_PORT
redirect.dns.captureAll               redirect-all-dns-traffic                    REDIRECT_DNS_CAPTURE_ALL
redirect.dns.skipConntrackZoneSplit   skip-dns-conntrack-zone-split               REDIRECT_DNS_SKIP_CONNTRACK_ZONE_SPLIT
redirect.dns.resolvConfigPath         -                                           REDIRECT_DNS_RESOLV_CONFIG_PATH
redirect.vnet.networks                vnet                                        REDIRECT_VNET_NETWORKS
ebpf.enabled                          ebpf-enabled                                EBPF_ENABLED
ebpf.instanceIPEnvVarName             -                                           EBPF_INSTANCE_IP_ENV_VAR_NAME
retry.maxRetries                      max-retries                                 RETRY_MAX_RETRIES
retry.sleepBetweenRetries             sleep-between-retries                       RETRY_SLEEP_BETWEEN_RETRIES
iptablesExecutables                   iptables-executables                        IPTABLES_EXECUTABLES
log.enabled                           iptables-logs                               LOG_ENABLED
log.level                             -                                           LOG_LEVEL
comments.disabled                     disable-comments                            COMMENTS_DISABLED
wait                                  wait                                        WAIT
waitInterval                          wait-interval                               WAIT_INTERVAL
dropInvalidPackets                    drop-invalid-packets                        DROP_INVALID_PACKETS
storeFirewalld                        store-firewalld                             STORE_FIREWALLD
ipFamilyMode                          ip-family-mode                              IP_FAMILY_MODE
cniMode                               -                                           CNI_MODE
dryRun                                dry-run                                     DRY_RUN
verbose                               verbose                                     VERBOSE
"""  # noqa: E501 - a table
"""Key of a file, flag, variable after KUMA_TRANSPARENT_PROXY_."""

PREFIX = "KUMA_TRANSPARENT_PROXY_"
CHART = """\
comments: {disabled: false}
dropInvalidPackets: false
ipFamilyMode: dualstack
iptablesExecutables: {ip6tables: "", iptables: "", iptables-save: ""}
kumaDPUser: "5678"
log: {enabled: false}
redirect:
  dns: {captureAll: true, enabled: true, port: 15053, resolvConfigPath: /etc/resolv.conf}
  inbound:
    enabled: true
    excludePorts: []
    excludePortsForIPs: []
    excludePortsForUIDs: []
    includePorts: []
    insertRedirectInsteadOfAppend: false
    port: 15006
  outbound: {enabled: true, excludePortsForUIDs: [], port: 15001}
  vnet: {networks: []}
retry: {maxRetries: 4, sleepBetweenRetries: 2s}
storeFirewalld: false
verbose: false
wait: 5
"""
"""What Kuma's chart writes."""


def translated(
    words: str,
    files: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
    *,
    known: dict[str, int] | None = None,
    has_default: bool = True,
) -> Translation:
    named = {f"{PREFIX}{name}": text for name, text in (environment or {}).items()}
    given = parse(words.split(), named, lambda name: (files or {})[name])
    return translate(given, known or {}, has_default=has_default)


def texts(words: str, files: dict[str, str] | None = None, **environment: str) -> dict[str, str]:
    return translated(words, files, environment).texts()


DEFAULT = {
    "sheet": "kuma",
    "proxy_uid": "5678",
    "inbound_port": "15006",
    "outbound_port": "15001",
    "include_inbound_ports": "*",
    "exclude_inbound_ports": "",
    "exclude_inbound_cidrs": "",
    "include_outbound_ports": "",
    "include_outbound_cidrs": "*",
    "exclude_outbound_ports": "",
    "exclude_outbound_cidrs": "",
    "exclude_outbound_uids": "",
    "capture_dns": "off",
    "dns_port": "15053",
    "drop_invalid": "false",
    "ip_families": "auto",
    "backend": "iptables",
}


@pytest.mark.parametrize("line", KUMACTL.splitlines(), ids=lambda line: line.split()[0])
def test_every_option_of_kumactl_is_there(line: str) -> None:
    path, flag, variable = line.split()
    option = next(row for row in TABLE.rows.values() if row.path == path)
    assert option.is_flag is (flag != "-")
    assert option.key == (path if flag == "-" else flag)
    assert option.environment == (f"{PREFIX}{variable}",)


def test_no_flags_say_what_kuma_means_by_none() -> None:
    assert texts("") == DEFAULT


def test_what_the_chart_writes_is_the_default_with_dns() -> None:
    found = translated("--config chart.yaml", {"chart.yaml": CHART})
    assert found.texts() == DEFAULT | {"capture_dns": "all"}
    assert found.notes == ()


def test_a_config_takes_all_of_it() -> None:
    words = (
        "--kuma-dp-user kuma-dp --redirect-all-dns-traffic --vnet docker0:172.17.0.1/16 "
        "--vnet br+:fd00::/8 --exclude-outbound-ports-for-uids 53,3000-5000:106-108 "
        "--exclude-outbound-ports-for-uids tcp:80:7 --exclude-outbound-ports-for-uids 1000 "
        "--exclude-outbound-ips 10.0.0.1,fe80::1 --exclude-outbound-ips fd00::/8 "
        "--exclude-inbound-ips 192.168.0.1 --exclude-inbound-ports 1,22 --drop-invalid-packets "
        "--skip-dns-conntrack-zone-split --redirect-outbound-insert-instead-of-append --verbose"
    )
    found = translated(words, known={"kuma-dp": 77})
    origins = found.origins()
    config = resolve([DEFAULTS, Layer(found.texts(), lambda key: origins[key])]).config
    assert str(config.proxy_uid) == "77"
    assert config.exclude_outbound_cidrs.text == "10.0.0.1/32,fe80::1/128,fd00::/8"
    assert str(config.exclude_outbound_uids) == "1000"
    assert config.options.values == {
        "exclude_outbound_ports_for_uids": "tcp:53:106-108,udp:53:106-108,"
        "tcp:3000-5000:106-108,udp:3000-5000:106-108,tcp:80:7",
        "vnet": "docker0:172.17.0.0/16,br+:fd00::/8",
        "skip_dns_conntrack_zone_split": "true",
        "redirect_outbound_insert_instead_of_append": "true",
    }
    assert (config.capture_dns, config.drop_invalid) == ("all", True)


SAID = [
    ("--redirect-inbound=false", "include_inbound_ports", ""),
    ("--redirect-inbound-port 1 --redirect-inbound-port=2", "inbound_port", "2"),
    # The last one counts: Kuma's lists of ports do not add up.
    ("--exclude-inbound-ports 1,2 --exclude-inbound-ports 3", "exclude_inbound_ports", "3"),
    ("--exclude-inbound-ports ,1,,2,", "exclude_inbound_ports", "1,2"),
    ("--redirect-dns", "capture_dns", "resolv-conf"),
    ("--redirect-dns --redirect-all-dns-traffic=false", "capture_dns", "resolv-conf"),
    ("--redirect-all-dns-traffic", "capture_dns", "all"),
    ("--redirect-dns-port 53", "dns_port", "53"),
    ("--ip-family-mode ipv4", "ip_families", "ipv4"),
    ("--ip-family-mode DualStack", "ip_families", "auto"),
    ("--kuma-dp-user 77", "proxy_uid", "77"),
    ("--exclude-outbound-ports-for-uids 9 ", "exclude_outbound_uids", "9"),
    ("--exclude-outbound-ports-for-uids *:*:9-10", "exclude_outbound_uids", "9-10"),
    (
        "--redirect-inbound-insert-instead-of-append",
        "options",
        "redirect_inbound_insert_instead_of_append=true",
    ),
    ("--netns /run/netns/x", "netns", "/run/netns/x"),
    ("--backend nftables", "backend", "nftables"),
]


@pytest.mark.parametrize(("words", "setting", "text"), SAID)
def test_what_a_flag_comes_to(words: str, setting: str, text: str) -> None:
    assert texts(words)[setting] == text


OF_FILES = [
    ("redirect: {outbound: {enabled: false}}", "include_outbound_cidrs", ""),
    ("redirect: {outbound: {includePorts: [80, 443]}}", "include_outbound_ports", "80,443"),
    ("redirect: {outbound: {includePorts: [80]}}", "include_outbound_cidrs", ""),
    ("redirect: {inbound: {includePorts: '80,443'}}", "include_inbound_ports", "80,443"),
    ("redirect: {inbound: {enabled: false, includePorts: [1]}}", "include_inbound_ports", ""),
    ("redirect: {dns: {captureAll: true}}", "capture_dns", "all"),
    ("redirect: {dns: {captureAll: true, enabled: false}}", "capture_dns", "off"),
    ("redirect: {dns: {enabled: true}}", "capture_dns", "resolv-conf"),
    ('{"redirect": {"inbound": {"excludePorts": [22]}}}', "exclude_inbound_ports", "22"),
    ("redirect:\n  inbound:\n    port:\n", "inbound_port", "15006"),
    ("", "inbound_port", "15006"),
]


@pytest.mark.parametrize(("content", "setting", "text"), OF_FILES)
def test_what_a_file_comes_to(content: str, setting: str, text: str) -> None:
    assert texts("--config a", {"a": content})[setting] == text


A = "redirect: {inbound: {port: 1, excludePorts: [1, 2]}, outbound: {port: 3}}"
B = "redirect: {inbound: {excludePorts: [7]}}"
PRECEDENCE = [
    # Tables merge, lists are replaced.
    ("--config a,b", {}, "exclude_inbound_ports", "7"),
    ("--config a --config b", {}, "exclude_inbound_ports", "7"),
    ("--config b,a", {}, "exclude_inbound_ports", "1,2"),
    ("--config a,b", {}, "inbound_port", "1"),
    ("--config a --config -", {}, "exclude_inbound_ports", "9"),
    ("--config-file a", {}, "outbound_port", "3"),
    # A variable goes before files, a flag before a variable.
    ("--config a", {"REDIRECT_INBOUND_PORT": "4"}, "inbound_port", "4"),
    ("--config a", {"REDIRECT_INBOUND_EXCLUDE_PORTS": "5,6"}, "exclude_inbound_ports", "5,6"),
    ("--config a", {"REDIRECT_INBOUND_EXCLUDE_PORTS": ""}, "exclude_inbound_ports", ""),
    (
        "--redirect-inbound-port 5 --config a",
        {"REDIRECT_INBOUND_PORT": "4"},
        "inbound_port",
        "5",
    ),
    ("--exclude-inbound-ports=8 --config a,b", {}, "exclude_inbound_ports", "8"),
    (
        "--exclude-inbound-ips 10.0.0.1",
        {"REDIRECT_INBOUND_EXCLUDE_PORTS_FOR_IPS": "10.0.0.2,fd00::/8"},
        "exclude_inbound_cidrs",
        "10.0.0.1/32",
    ),
    (
        "",
        {"REDIRECT_INBOUND_EXCLUDE_PORTS_FOR_IPS": "10.0.0.2,fd00::/8"},
        "exclude_inbound_cidrs",
        "10.0.0.2/32,fd00::/8",
    ),
    (
        "",
        {"REDIRECT_OUTBOUND_EXCLUDE_PORTS_FOR_UIDS": "tcp:80:7,udp:53:8"},
        "options",
        "exclude_outbound_ports_for_uids=tcp:80:7,udp:53:8",
    ),
    (
        "",
        {"REDIRECT_VNET_NETWORKS": "a:10.0.0.0/8,b:fd00::/8"},
        "options",
        "vnet=a:10.0.0.0/8,b:fd00::/8",
    ),
    ("--redirect-all-dns-traffic --config off", {}, "capture_dns", "all"),
    ("--config off", {"REDIRECT_DNS_CAPTURE_ALL": "true"}, "capture_dns", "all"),
]


@pytest.mark.parametrize(("words", "environment", "setting", "text"), PRECEDENCE)
def test_who_goes_before_whom(
    words: str, environment: dict[str, str], setting: str, text: str
) -> None:
    off = "redirect: {dns: {enabled: false}}"
    files = {"a": A, "b": B, "-": "redirect: {inbound: {excludePorts: 9}}", "off": off}
    assert texts(words, files, **environment)[setting] == text


def test_a_document_may_stand_on_the_command_line() -> None:
    given = parse(["--config", '{"redirect": {"inbound": {"port": 7}}}'], {}, str)
    assert translate(given, {}, has_default=True).texts()["inbound_port"] == "7"


def test_who_the_proxy_is_where_nobody_says() -> None:
    known = {"kuma-dp": 77}
    assert translated("", known=known).texts()["proxy_uid"] == "5678"
    assert translated("", known=known, has_default=False).texts()["proxy_uid"] == "77"
    assert translated("", has_default=False).texts()["proxy_uid"] == "5678"
    assert users(parse([], {}, str)) == {"kuma-dp"}
    assert users(parse(["--kuma-dp-user", "me"], {}, str)) == {"me"}
    assert users(parse(["--kuma-dp-user", "77"], {}, str)) == set()


def test_waiting_and_trying_again_have_no_effect_and_say_so() -> None:
    found = translated("--wait 7 --wait-interval 5 --max-retries 1 --sleep-between-retries 1s")
    assert [note.partition(" ")[0] for note in found.notes] == [
        "--wait",
        "--wait-interval",
        "--max-retries",
        "--sleep-between-retries",
    ]
    assert translated("--wait 5 --verbose").notes == ()


def test_excluded_ports_beside_included_ones_have_no_effect_and_say_so() -> None:
    found = translated("--config a --exclude-inbound-ports 7", {"a": A})
    assert found.notes == ()
    included = {"a": "redirect: {inbound: {includePorts: [80]}}"}
    assert translated("--config a --exclude-inbound-ports 7", included).notes == (
        "--exclude-inbound-ports has no effect: Kuma excludes ports only where none are included",
    )


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("tcp:22:1000-2000", ("tcp:22:1000-2000",)),
        ("udp:53:1001", ("udp:53:1001",)),
        ("80:1002", ("tcp:80:1002", "udp:80:1002")),
        ("udp:*:1", ("udp:*:1",)),
        ("udp::1", ("udp:*:1",)),
        ("tcp,udp:1:1", ("tcp:1:1", "udp:1:1")),
    ],
)
def test_exclusions_of_users(text: str, records: tuple[str, ...]) -> None:
    assert UserExclusion.parse(text).records == records


REFUSED = [
    ("--iptables-logs", {}, "--iptables-logs: no rule writes to the kernel's log"),
    ("--store-firewalld", {}, "--store-firewalld: firewalld is not told"),
    ("--disable-comments", {}, "--disable-comments: rules keep their comments"),
    ("--ebpf-enabled", {}, "--ebpf-enabled: Kuma has no eBPF any more"),
    ("--iptables-executables iptables:/x", {}, "--iptables-executables: programs are those of"),
    ("--kuma-dp-uid 5", {}, "--kuma-dp-uid: Kuma took this flag away"),
    ("", {"LOG_ENABLED": "true"}, "KUMA_TRANSPARENT_PROXY_LOG_ENABLED: no rule writes"),
    ("", {"STORE_FIREWALLED": "true"}, "there is no variable KUMA_TRANSPARENT_PROXY_STORE_FIREW"),
    ("--redirect-dns --redirect-all-dns-traffic", {}, "one of them, not both"),
    ("--exclude-inbound-ports 80,x", {}, "--exclude-inbound-ports: 'x' is no port"),
    ("--exclude-inbound-ports 80-90", {}, "'80-90' is no port"),
    ("--exclude-inbound-ports 0", {}, "port 0 is not within"),
    ("--redirect-inbound-port 0x10", {}, "'0x10' is no port"),
    ("--exclude-inbound-ips far", {}, "'far' is no address and no network"),
    ("--vnet 10.0.0.0/8", {}, "'10.0.0.0/8' is not of the form INTERFACE:CIDR"),
    ("--vnet a:10.0.0.0", {}, "'10.0.0.0' has no length"),
    ("--exclude-outbound-ports-for-uids 80:*", {}, "one user or one range is needed, not '*'"),
    ("--exclude-outbound-ports-for-uids 80:1,2", {}, "one user or one range is needed"),
    ("--exclude-outbound-ports-for-uids a:b:c:d", {}, "is not of the form"),
    ("--exclude-outbound-ports-for-uids sctp:1:1", {}, "'sctp' is neither tcp nor udp"),
    ("--ip-family-mode ipv6", {}, "--ip-family-mode: 'ipv6' is none of dualstack, ipv4"),
    ("--kuma-dp-user nobody-known", {}, "no user named 'nobody-known' on this host"),
    ("--wait soon", {}, "--wait: 'soon' is no number"),
    ("--sleep-between-retries 2", {}, "'2' is no duration"),
    ("--redirect-inbound=perhaps", {}, "--redirect-inbound: 'perhaps' is neither true nor false"),
    ("--redirect-ports 1", {}, "there is no flag --redirect-ports"),
    ("--redirect.outbound.enabled=false", {}, "there is no flag --redirect.outbound.enabled"),
    ("now", {}, "'now' is no flag; kumactl ignores it"),
    ("--config unknown", {}, "unknown: there is no key 'redirect.inbound.excludePort'"),
    ("--config table", {}, "table: redirect.inbound: a table is needed"),
    ("--config uids", {}, "redirect.inbound.excludePortsForUIDs: what comes in has no user"),
    ("--config resolv", {}, "redirect.dns.resolvConfigPath: servers are those of"),
    ("--config hidden --exclude-inbound-ports 1", {}, "excludePorts: 'x' is no port"),
    ("--config broken", {}, "broken: as YAML"),
    ("--config ,", {}, "--config: a path is needed"),
]
FILES = {
    "unknown": "redirect: {inbound: {excludePort: [1]}}",
    "table": "redirect: {inbound: 15006}",
    "uids": "redirect: {inbound: {excludePortsForUIDs: ['80:1000']}}",
    "resolv": "redirect: {dns: {resolvConfigPath: /etc/other}}",
    "hidden": "redirect: {inbound: {excludePorts: [x]}}",
    "broken": "redirect: {",
}


@pytest.mark.parametrize(("words", "environment", "message"), REFUSED)
def test_mistakes_are_refused_by_name(
    words: str, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        texts(words, FILES, **environment)
    assert message in caught.value.message
    assert caught.value.hint


def test_what_kubernetes_puts_there_for_a_service_is_no_mistake() -> None:
    assert texts("", SERVICE_HOST="10.0.0.1", PORT="tcp://10.0.0.1:80") == DEFAULT
