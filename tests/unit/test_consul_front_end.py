"""redirect-traffic's command line: what its flags come to here, and what is refused."""

from __future__ import annotations

import pytest

from interceptor.errors import ConfigError
from interceptor.frontends.consul.options import TABLE
from interceptor.frontends.consul.translate import named_services, parse, translate
from interceptor.frontends.goflag import wants_help
from interceptor.layers import DEFAULTS, Layer, resolve

REDIRECT_TRAFFIC = """\
node-name             -
consul-dns-ip         -
consul-dns-port       -
proxy-uid             -
proxy-id              -
proxy-inbound-port    -
proxy-outbound-port   15001
exclude-inbound-port  -
exclude-outbound-port -
exclude-outbound-cidr -
exclude-uid           -
netns                 -
http-addr             -
token                 -
token-file            -
ca-file               -
ca-path               -
client-cert           -
client-key            -
tls-server-name       -
namespace             -
partition             -
"""
"""Flag and default; of numbers 0 is none."""

NEEDED = "-proxy-uid 5995 -proxy-inbound-port 20000"
SERVICES = {"ssh": 22, "https": 443}


def texts(words: str, **environment: str) -> dict[str, str]:
    return translate(parse(words.split(), environment), SERVICES).texts()


@pytest.mark.parametrize("line", REDIRECT_TRAFFIC.splitlines(), ids=lambda line: line.split()[0])
def test_every_flag_of_redirect_traffic_is_there(line: str) -> None:
    key, default = line.split()
    assert TABLE.rows[key].unset == default.removeprefix("-")


def test_no_flag_is_there_that_redirect_traffic_has_not_but_ours() -> None:
    listed = {line.split()[0] for line in REDIRECT_TRAFFIC.splitlines()}
    others = {key for key, row in TABLE.rows.items() if key not in listed and not row.ours}
    assert others == {"dual-stack", "help"}


def test_the_fewest_flags_say_what_consul_means_by_them() -> None:
    assert texts(NEEDED) == {
        "sheet": "consul",
        "inbound_port": "20000",
        "outbound_port": "15001",
        "proxy_uid": "5995",
        "exclude_inbound_ports": "",
        "exclude_outbound_ports": "",
        "exclude_outbound_cidrs": "",
        "exclude_outbound_uids": "",
        "ip_families": "ipv4",
        "backend": "auto",
    }


def test_a_config_takes_all_of_it() -> None:
    words = (
        f"{NEEDED} -exclude-inbound-port ssh -exclude-inbound-port=8080:9000 -exclude-uid 5996 "
        "-exclude-outbound-cidr 10.1.2.3/8 -exclude-outbound-cidr ::1 -consul-dns-ip 10.0.0.53 "
        "-consul-dns-port 8600 -dual-stack"
    )
    translation = translate(parse(words.split(), {}), SERVICES)
    origins = translation.origins()
    config = resolve([DEFAULTS, Layer(translation.texts(), lambda key: origins[key])]).config
    assert config.exclude_inbound_ports.text == "22,8080-9000"
    assert config.exclude_outbound_cidrs.text == "10.0.0.0/8,::1/128"
    assert str(config.exclude_outbound_uids) == "5996"
    assert config.options.values == {"dns_address": "10.0.0.53", "dns_address_port": "8600"}
    assert config.ip_families == "dual"


SAID = [
    ("-proxy-outbound-port=0x10", "outbound_port", "16"),
    ("--proxy-outbound-port 16", "outbound_port", "16"),
    ("-proxy-outbound-port 1 -proxy-outbound-port 2", "outbound_port", "2"),
    ("-exclude-outbound-port https -exclude-outbound-port 5", "exclude_outbound_ports", "443,5"),
    ("-exclude-uid 1 --exclude-uid=2", "exclude_outbound_uids", "1,2"),
    ("-netns /run/netns/x", "netns", "/run/netns/x"),
    ("-consul-dns-port 8600", "options", "dns_address_port=8600"),
    ("-consul-dns-port 0 -consul-dns-ip ::1", "options", "dns_address=::1"),
    ("-backend nftables", "backend", "nftables"),
    ("-dry-run", "dry_run", "true"),
    ("-output json", "output", "json"),
    ("--", "backend", "auto"),
]


@pytest.mark.parametrize(("words", "setting", "text"), SAID)
def test_what_a_flag_comes_to(words: str, setting: str, text: str) -> None:
    assert texts(f"{NEEDED} {words}")[setting] == text


def test_only_what_may_be_a_service_is_looked_up() -> None:
    words = "-exclude-inbound-port ssh -exclude-inbound-port 1:2 -exclude-outbound-port 3com-tsmux"
    assert named_services(parse(f"{NEEDED} {words}".split(), {})) == ("ssh", "3com-tsmux")


def test_flags_about_the_server_have_no_effect_and_say_so() -> None:
    given = parse(f"{NEEDED} -http-addr 10.0.0.1:8500 -token secret".split(), {})
    assert translate(given, {}).notes == (
        "-http-addr has no effect: Consul's API server is not asked",
        "-token has no effect: Consul's API server is not asked",
    )


@pytest.mark.parametrize(
    ("words", "wanted"), [("-h", True), ("--help", True), ("-help=false", False), ("", False)]
)
def test_help_comes_before_values(words: str, wanted: bool) -> None:
    assert wants_help(words.split(), TABLE) is wanted


REFUSED = [
    ("-proxy-inbound-port 20000", "-proxy-uid is needed"),
    ("-proxy-uid 5995", "-proxy-inbound-port is needed"),
    ("-proxy-uid 5995 -proxy-inbound-port 0", "-proxy-inbound-port is needed"),
    ("-proxy-uid 5995 -proxy-id web", "-proxy-id: it needs Consul's API server"),
    (f"{NEEDED} -node-name n", "-node-name: it needs Consul's API server"),
    (f"{NEEDED} -proxy-uid envoy", "-proxy-uid: 'envoy' is no id"),
    (f"{NEEDED} -exclude-uid 1,2", "-exclude-uid: '1,2' is no id"),
    (f"{NEEDED} -exclude-inbound-port 80,90", "'80,90' is several: give the flag once for each"),
    (f"{NEEDED} -exclude-inbound-port 80-90", "'80-90' is no port, and no range as 80:90"),
    (f"{NEEDED} -exclude-inbound-port 90:80", "runs backwards"),
    (f"{NEEDED} -exclude-inbound-port 70000", "port 70000 is not within"),
    (f"{NEEDED} -exclude-inbound-port sssh", "-exclude-inbound-port: no service named 'sssh'"),
    (f"{NEEDED} -exclude-outbound-cidr 10.0.0.0/40", "is no network in CIDR form"),
    (f"{NEEDED} -consul-dns-ip consul.local", "-consul-dns-ip: "),
    (f"{NEEDED} -consul-dns-ip 10.0.0.1,10.0.0.2", "-consul-dns-ip: "),
    (f"{NEEDED} -consul-dns-port 99999", "port 99999 is not within"),
    (f"{NEEDED} -exclude-port 80", "there is no flag -exclude-port"),
    (f"{NEEDED} -netns", "-netns: a value is needed"),
    (f"{NEEDED} now -netns /x", "'now' is no flag; Consul ignores it"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_mistakes_are_refused_by_name(words: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        texts(words)
    assert message in caught.value.message
    assert caught.value.hint
