"""What istio-iptables' options mean here, for what is found in a pod."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from interceptor.errors import ConfigError, HostError
from interceptor.frontends.istio.command_line import parse
from interceptor.frontends.istio.translate import Facts, dns_capture, named_accounts, translate
from interceptor.layers import DEFAULTS, Layer, resolve

LO, LO6, LINK, LINK6 = "127.0.0.1", "::1", "169.254.1.1", "fe80::1"
POD, POD6 = "10.1.0.1", "fd01::1"


def facts(
    *addresses: str,
    users: dict[str, int] | None = None,
    groups: dict[str, int] | None = None,
    nameservers: tuple[str, ...] = (),
) -> Facts:
    return Facts(
        addresses=tuple(map(ip_address, addresses or (LO, POD))),
        users=users or {},
        groups=groups or {},
        nameservers=nameservers,
    )


IPV4 = facts()


def settings(words: str, found: Facts = IPV4, **environment: str) -> dict[str, str]:
    return dict(translate(parse(words.split(), environment), found).settings)


def test_no_flags_say_what_istio_means_by_none() -> None:
    assert settings("") == {
        "sheet": "istio",
        "backend": "iptables",
        "iptables_variant": "auto",
        "mode": "redirect",
        "outbound_port": "15001",
        "inbound_port": "15006",
        "tunnel_port": "15008",
        "proxy_uid": "1337",
        "proxy_gid": "1337",
        "include_inbound_ports": "",
        "exclude_inbound_ports": "",
        "include_outbound_ports": "",
        "exclude_outbound_ports": "",
        "include_outbound_cidrs": "",
        "exclude_outbound_cidrs": "",
        "include_outbound_owner_groups": "*",
        "exclude_outbound_owner_groups": "",
        "exclude_interfaces": "",
        "virtual_interfaces": "",
        "capture_dns": "off",
        "drop_invalid": "false",
        "ip_families": "ipv4",
        "loopback_cidr": "127.0.0.1/32",
        "tproxy_mark": "1337",
        "tproxy_route_table": "133",
        "debug": "false",
    }


def test_a_config_takes_all_of_it() -> None:
    words = "-b * -i 10.1.2.3/8 -d 15020 -u 5,4 -m TPROXY -k k1 -c eth5 --redirect-dns -t 7 -r 9"
    found = facts(POD, nameservers=("10.0.0.53",))
    given = parse(words.split(), {"INTERCEPTOR_OUTPUT": "json"})
    translation = translate(given, found)
    layer = Layer(translation.settings, lambda key: translation.origins[key])
    config = resolve([DEFAULTS, layer]).config
    assert str(config.include_outbound_cidrs) == "10.0.0.0/8"
    assert (config.tproxy_mark, config.tproxy_route_table) == (7, 9)
    assert config.output == "json"
    assert [str(member) for member in config.proxy_uid.ids.members] == ["5", "4"]


ONE = [
    ("-p 1 -z 2 -e 3", "outbound_port", "1"),
    ("-p 1 -z 2 -e 3", "inbound_port", "2"),
    ("-p 1 -z 2 -e 3", "tunnel_port", "3"),
    ("-b 9,8", "include_inbound_ports", "9,8"),
    ("-b * -d 9,8", "exclude_inbound_ports", "9,8"),
    ("-q 9,8", "include_outbound_ports", "9,8"),
    ("-o 9,8", "exclude_outbound_ports", "9,8"),
    ("-i 10.0.0.0/8,9.0.0.0/8", "include_outbound_cidrs", "10.0.0.0/8,9.0.0.0/8"),
    ("-x 10.0.0.0/8,9.0.0.0/8", "exclude_outbound_cidrs", "10.0.0.0/8,9.0.0.0/8"),
    ("-c b,a", "exclude_interfaces", "b,a"),
    ("-k b,a", "virtual_interfaces", "b,a"),
    ("-m TPROXY", "mode", "tproxy"),
    ("-m REDIRECT", "mode", "redirect"),
    ("-t 7", "tproxy_mark", "7"),
    ("-r 7", "tproxy_route_table", "7"),
    ("--drop-invalid", "drop_invalid", "true"),
    ("--native-nftables", "backend", "nftables"),
    ("--force-iptables-binary legacy", "iptables_variant", "legacy"),
    ("--force-iptables-binary nft", "iptables_variant", "nft"),
    ("--network-namespace /run/netns/x", "netns", "/run/netns/x"),
    ("--timeout 7", "timeout", "7"),
    ("--redirect-dns --capture-all-dns", "capture_dns", "all"),
    ("--redirect-dns --capture-all-dns --cni-mode", "capture_dns", "all"),
]


@pytest.mark.parametrize(("words", "setting", "value"), ONE)
def test_an_option_decides_its_setting(words: str, setting: str, value: str) -> None:
    assert settings(words)[setting] == value
    assert settings("").get(setting) != value or words == "-m REDIRECT"


FAMILIES = [
    # The first address that counts decides.
    ("", (LO, POD), "ipv4"),
    ("", (LO, POD, LO6, POD6), "ipv4"),
    ("", (LO, LO6, POD6), "dual"),
    ("", (LO, LINK, LO6, LINK6, POD6), "dual"),
    ("", (POD6, POD), "dual"),
    ("", (LO6, LINK6, POD), "ipv4"),
    ("", ("::ffff:10.1.0.1", POD6), "ipv4"),
    ("", ("224.0.0.5", "ff02::1", "ff12::1", POD6), "dual"),
    ("", ("224.0.1.5", POD6), "ipv4"),
    # With dual-stack any of them.
    ("--dual-stack", (LO, POD), "ipv4"),
    ("--dual-stack", (LO, POD, LO6, POD6), "dual"),
    ("--dual-stack", (LO, POD, LO6, LINK6), "ipv4"),
    ("--dual-stack", (LO, LO6, POD6), "dual"),
]


@pytest.mark.parametrize(("words", "addresses", "value"), FAMILIES)
def test_addresses_decide_about_ipv6(words: str, addresses: tuple[str, ...], value: str) -> None:
    assert settings(words, facts(*addresses))["ip_families"] == value


@pytest.mark.parametrize("addresses", [(LO,), (LO, LINK, LO6, LINK6)])
def test_without_an_address_there_is_nothing_to_go_by(addresses: tuple[str, ...]) -> None:
    with pytest.raises(HostError, match="no address but loopback and link-local"):
        settings("--dual-stack", facts(*addresses))


KNOWN = facts(
    users={"istio-proxy": 1000, "envoy": 900, "app": 800}, groups={"java": 700, "envoy": 901}
)
ACCOUNTS = [
    ("", {}, IPV4, "1337", "1337"),
    ("", {}, KNOWN, "1000", "1000"),
    ("", {"ENVOY_USER": "app"}, KNOWN, "800", "800"),
    ("-g 5", {}, KNOWN, "1000", "5"),
    ("-u 9,7,8", {}, KNOWN, "9,7,8", "9,7,8"),
    ("-u 9,7 -g 5,4", {}, KNOWN, "9,7", "5,4"),
    ("-u 9,app,7 -g java,4", {}, KNOWN, "9,800,7", "700,4"),
    # The text is copied, so a name is looked up twice.
    ("-u envoy", {}, KNOWN, "900", "901"),
]


@pytest.mark.parametrize(("words", "environment", "found", "uid", "gid"), ACCOUNTS)
def test_the_proxys_ids(
    words: str, environment: dict[str, str], found: Facts, uid: str, gid: str
) -> None:
    made = settings(words, found, **environment)
    assert (made["proxy_uid"], made["proxy_gid"]) == (uid, gid)


def test_the_names_that_are_to_be_looked_up() -> None:
    given = parse(
        ["-u", "9,app"],
        {
            "ISTIO_OUTBOUND_OWNER_GROUPS": "java,5",
            "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "ftp",
            "ENVOY_USER": "unused",
        },
    )
    assert _sorted(named_accounts(given)) == [["app"], ["app", "ftp", "java"]]
    assert _sorted(named_accounts(parse([], {}))) == [["istio-proxy"], []]
    assert _sorted(named_accounts(parse(["-u", "x", "-g", "y"], {}))) == [["x"], ["y"]]


def _sorted(sets: tuple[frozenset[str], ...]) -> list[list[str]]:
    return [sorted(one) for one in sets]


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        ("-u nobody-here", {}, "-u (--proxy-uid): no user named 'nobody-here' on this host"),
        ("-g none", {}, "-g (--proxy-gid): no group named 'none'"),
        ("-u app", {}, "-u (--proxy-uid): no group named 'app'"),
        ("", {"ISTIO_OUTBOUND_OWNER_GROUPS": "x"}, "ISTIO_OUTBOUND_OWNER_GROUPS: no group"),
    ],
)
def test_accounts_that_are_not_there_are_refused(
    words: str, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(words, KNOWN, **environment)
    assert message in caught.value.message


def test_groups_keep_their_order() -> None:
    made = settings("", KNOWN, ISTIO_OUTBOUND_OWNER_GROUPS="9,java,3")
    assert made["include_outbound_owner_groups"] == "9,700,3"
    made = settings("", KNOWN, ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE="9,java,3")
    assert made["exclude_outbound_owner_groups"] == "9,700,3"


def test_dns_goes_by_the_servers_there_are() -> None:
    served = facts(POD, nameservers=("10.0.0.53/32",))
    assert settings("--redirect-dns", served)["capture_dns"] == "resolv-conf"
    translation = translate(parse(["--redirect-dns"], {}), IPV4)
    assert translation.settings["capture_dns"] == "off"
    assert translation.run.notes == ("--redirect-dns has no effect: resolv.conf names no server",)
    assert settings("--redirect-dns --capture-all-dns")["capture_dns"] == "all"


@pytest.mark.parametrize(
    ("words", "message", "lenient"),
    [
        ("--capture-all-dns", "--capture-all-dns: without --redirect-dns no query", "off"),
        ("--redirect-dns --cni-mode", "--redirect-dns: with --cni-mode", "resolv-conf"),
    ],
)
def test_dns_flags_that_make_no_sense_together(words: str, message: str, lenient: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dns_capture(parse(words.split(), {}))
    assert dns_capture(parse([*words.split(), "--lenient"], {})) == lenient


def test_what_has_no_effect_is_told() -> None:
    given = parse(["--capture-all-dns", "--lenient", "-b", "1", "-d", "2"], {"ENVOY_USER": "me"})
    notes = translate(given, IPV4).run.notes
    assert [note.split(" ")[0] for note in notes] == ["-d", "--capture-all-dns", "ENVOY_USER:"]


@pytest.mark.parametrize(
    "words",
    [
        "-o 80,15002",
        "-e 15002",
        "--iptables-probe-port 53 --redirect-dns --capture-all-dns",
    ],
)
def test_a_port_that_rules_leave_alone_is_not_tried(words: str) -> None:
    settings(words)
    with pytest.raises(ConfigError, match=r"rules leave connections to \d+ alone"):
        settings(f"{words} --run-validation")
    settings(f"{words} --run-validation --lenient")


@pytest.mark.parametrize(
    ("words", "environment", "setting", "origin"),
    [
        ("-b 80", {}, "include_inbound_ports", "-b (--istio-inbound-ports)"),
        ("", {"INVALID_DROP": "1"}, "drop_invalid", "INVALID_DROP"),
        ("-u 5", {"ENVOY_USER": "x"}, "proxy_uid", "-u (--proxy-uid)"),
        ("-u 5", {}, "proxy_gid", "-u (--proxy-uid)"),
        ("-u 5 -g 6", {}, "proxy_gid", "-g (--proxy-gid)"),
        ("", {"ENVOY_USER": "x"}, "proxy_gid", "ENVOY_USER"),
        (
            "--redirect-dns --capture-all-dns",
            {},
            "capture_dns",
            "--redirect-dns, --capture-all-dns",
        ),
        ("", {}, "outbound_port", "default of istio-iptables"),
    ],
)
def test_each_setting_knows_where_it_is_from(
    words: str, environment: dict[str, str], setting: str, origin: str
) -> None:
    assert translate(parse(words.split(), environment), IPV4).origins[setting] == origin
