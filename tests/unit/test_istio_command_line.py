"""istio-iptables' command line: what its flags and variables come to, and what is refused."""

from __future__ import annotations

import pytest

from interceptor.errors import ConfigError
from interceptor.frontends.istio.command_line import parse
from interceptor.frontends.istio.options import TABLE
from interceptor.frontends.pflag import wants_help

INJECTOR = (
    "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * --istio-service-exclude-cidr= -b * "
    "-d 15090,15021 --log_as_json"
)

SAME = [
    # As the library takes flags.
    ("--envoy-port 1", {}, "envoy-port", "1"),
    ("--envoy-port=1", {}, "envoy-port", "1"),
    ("-p 1", {}, "envoy-port", "1"),
    ("-p1", {}, "envoy-port", "1"),
    ("-p=1", {}, "envoy-port", "1"),
    ("-p 1 -p 2", {}, "envoy-port", "2"),
    ("-n", {}, "dry-run", "true"),
    ("--dry-run", {}, "dry-run", "true"),
    ("--dry-run=F", {}, "dry-run", "false"),
    ("-n=false", {}, "dry-run", "false"),
    ("-nb 80", {}, "dry-run", "true"),
    ("-nb 80", {}, "istio-inbound-ports", "80"),
    ("-nb80", {}, "istio-inbound-ports", "80"),
    ("-nb=80", {}, "istio-inbound-ports", "80"),
    (INJECTOR, {}, "istio-service-exclude-cidr", ""),
    (INJECTOR, {}, "istio-local-exclude-ports", "15090,15021"),
    ("--log_as_json --log_output_level all:debug --vklog=9", {}, "log_output_level", "all:debug"),
    # A switch takes no value from the next word.
    ("--redirect-dns -n", {}, "dry-run", "true"),
    # From weak to strong.
    ("", {"ISTIO_INBOUND_PORTS": "80"}, "istio-inbound-ports", "80"),
    ("-b 90", {"ISTIO_INBOUND_PORTS": "80"}, "istio-inbound-ports", "90"),
    ("--istio-inbound-ports=", {"ISTIO_INBOUND_PORTS": "80"}, "istio-inbound-ports", ""),
    ("", {"REDIRECT_DNS": "true", "ISTIO_META_DNS_CAPTURE": "0"}, "redirect-dns", "false"),
    ("", {"REDIRECT_DNS": "0", "ISTIO_META_DNS_CAPTURE": "TRUE"}, "redirect-dns", "true"),
    ("", {"INVALID_DROP": "t"}, "drop-invalid", "true"),
    ("", {"DUAL_STACK": "0", "ISTIO_DUAL_STACK": "1"}, "dual-stack", "true"),
    ("", {"ENVOY_PORT": "1"}, "envoy-port", "15001"),
    # Put plainly.
    ("-b 6000,7000,", {}, "istio-inbound-ports", "6000,7000"),
    ("-b ,6000,,7000", {}, "istio-inbound-ports", "6000,7000"),
    ("-b *", {}, "istio-inbound-ports", "*"),
    ("-i 10.1.2.3/8,FD00::1/64", {}, "istio-service-cidr", "10.0.0.0/8,fd00::/64"),
    ("-i 127.1.2.3/32,::1/128", {}, "istio-service-cidr", "127.1.2.3/32,::1/128"),
    ("-u 9,7,envoy,8", {}, "proxy-uid", "9,7,envoy,8"),
    ("-m TPROXY", {}, "istio-inbound-interception-mode", "TPROXY"),
    ("", {}, "istio-inbound-interception-mode", "REDIRECT"),
    ("-t 0x539", {}, "istio-inbound-tproxy-mark", "1337"),
    ("--probe-timeout 1m30.5s", {}, "probe-timeout", "90.5"),
    ("--probe-timeout 250ms", {}, "probe-timeout", "0.25"),
    ("", {}, "probe-timeout", "5"),
    ("--iptables-probe-port 0x10", {}, "iptables-probe-port", "16"),
    ("--iptables-probe-port 010", {}, "iptables-probe-port", "8"),
    ("--force-iptables-binary=nft", {}, "force-iptables-binary", "nft"),
    ("", {"ISTIO_OUTBOUND_OWNER_GROUPS": "java,202"}, "ISTIO_OUTBOUND_OWNER_GROUPS", "java,202"),
    (
        "",
        {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "127.0.0.1/8"},
        "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
        "127.0.0.0/8",
    ),
]
"""Words, variables, an option, and its value."""


@pytest.mark.parametrize(("words", "environment", "key", "text"), SAME)
@pytest.mark.parametrize("reading", ["", "--lenient"], ids=["strict", "lenient"])
def test_what_is_no_mistake_means_the_same_in_both_readings(
    words: str, environment: dict[str, str], key: str, text: str, reading: str
) -> None:
    given = parse([*words.split(), *reading.split()], environment)
    assert given.text(key) == text


@pytest.mark.parametrize(
    ("words", "environment", "key", "origin"),
    [
        (
            "-b 80",
            {"ISTIO_INBOUND_PORTS": "90"},
            "istio-inbound-ports",
            "-b (--istio-inbound-ports)",
        ),
        ("--istio-inbound-ports 80", {}, "istio-inbound-ports", "--istio-inbound-ports"),
        ("", {"INVALID_DROP": "1", "DROP_INVALID": "1"}, "drop-invalid", "INVALID_DROP"),
        ("", {}, "istio-inbound-ports", "default"),
    ],
)
def test_a_value_knows_where_it_is_from(
    words: str, environment: dict[str, str], key: str, origin: str
) -> None:
    assert parse(words.split(), environment).origin(key) == origin


def test_an_empty_argument_is_a_value() -> None:
    given = parse(["-x", "", "-i", "*"], {})
    assert given.text("istio-service-exclude-cidr") == ""
    assert given.text("istio-service-cidr") == "*"


REFUSED = [
    # There is no such flag, or its value is missing: Istio refuses these too.
    ("--inbound-ports 80", {}, "there is no flag --inbound-ports"),
    ("--ENVOY_USER x", {}, "there is no flag --ENVOY_USER"),
    ("--=x", {}, "there is no flag --"),
    ("-y", {}, "there is no flag -y"),
    ("-ny", {}, "there is no flag -y, as in -ny"),
    ("-n=", {}, "there is no flag -="),
    ("-b", {}, "-b (--istio-inbound-ports): a value is needed"),
    ("-nb", {}, "-b (--istio-inbound-ports): a value is needed"),
    ("--istio-service-cidr", {}, "--istio-service-cidr: a value is needed"),
    ("--dry-run=maybe", {}, "--dry-run: 'maybe' is neither true nor false"),
    ("--dry-run=", {}, "--dry-run: a value is needed"),
    ("--probe-timeout 5", {}, "--probe-timeout: '5' is no duration"),
    ("--probe-timeout 1m5", {}, "--probe-timeout: '1m5' is no duration"),
    ("--iptables-probe-port 70000", {}, "--iptables-probe-port: 70000 is not within 1..65535"),
    # No kernel holds what these mean.
    ("-p x", {}, "-p (--envoy-port): 'x' is no port"),
    ("-p=", {}, "-p (--envoy-port): '=' is no port"),
    ("-p 70000", {}, "port 70000 is not within 1..65535"),
    ("-z 0", {}, "port 0 is not within"),
    ("-b 80,http", {}, "'http' is no port"),
    ("-b *,80", {}, "'*' is everything and stands alone, not in '*,80'"),
    ("-q *", {}, "-q (--istio-outbound-ports): '*' cannot stand here"),
    ("-o *", {}, "'*' cannot stand here"),
    ("-u 12x", {}, "-u (--proxy-uid): '12x' is no id"),
    ("-u *", {}, "'*' cannot stand here"),
    ("-g 4294967295", {}, "is not within"),
    ("-c eth0;x", {}, "'eth0;x' is no interface name"),
    ("-k " + 16 * "k", {}, "is no interface name"),
    ("-i *,10.0.0.0/8", {}, "'*' is everything and stands alone"),
    ("-x *", {}, "-x (--istio-service-exclude-cidr): '*' cannot stand here"),
    ("-i 10.1.2.3", {}, "'10.1.2.3' has no length: write 10.1.2.3/32"),
    ("-x fd00::1", {}, "'fd00::1' has no length: write fd00::1/128"),
    ("-i 10.0.0.0/33", {}, "'10.0.0.0/33' is no network"),
    ("-i 10.0.0.0/08", {}, "is no network"),
    ("-i 10.0.0.0/255.0.0.0", {}, "is no network"),
    ("-i 10.0.0/8", {}, "is no network"),
    ("-i fe80::1%eth0/64", {}, "is no network"),
    ("-i ::1/64", {}, "'::1/64' is partly loopback: ::/64"),
    ("-r 254 -m TPROXY -b 80", {}, "-r (--istio-inbound-tproxy-route-table): 254 is the kernel's"),
    ("-t 0 -m TPROXY", {}, "-t (--istio-inbound-tproxy-mark): '0' is no mark"),
    ("--force-iptables-binary nftables", {}, "'nftables' is none of legacy, nft"),
    ("", {"FORCE_IPTABLES_BINARY": "iptables-nft"}, "FORCE_IPTABLES_BINARY: 'iptables-nft' is"),
    ("", {"INBOUND_CAPTURE_PORT": ""}, "INBOUND_CAPTURE_PORT: a"),
    ("", {"INBOUND_TUNNEL_PORT": "hbone"}, "INBOUND_TUNNEL_PORT: 'hbone' is no port"),
    (
        "",
        {"ISTIO_OUTBOUND_OWNER_GROUPS": ",".join(map(str, range(65)))},
        "ISTIO_OUTBOUND_OWNER_GROUPS: 65 groups are more than one rule holds: 64",
    ),
    ("", {"ISTIO_OUTBOUND_OWNER_GROUPS": "*,5"}, "'*' is everything and stands alone"),
    *(
        (
            "",
            {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": text},
            f"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: {why}",
        )
        for text, why in (
            ("10.0.0.0/8", "'10.0.0.0/8' is not one network within 127.0.0.0/8"),
            ("::1/128", "'::1/128' is not one network within 127.0.0.0/8"),
            ("127.0.0.0/7", "'127.0.0.0/7' has a length that is not within 8..32"),
            ("127.0.0.1", "'127.0.0.1' has no length"),
        )
    ),
]
"""Words, variables, and how the message begins or what it has."""


@pytest.mark.parametrize(("words", "environment", "message"), REFUSED)
@pytest.mark.parametrize("reading", ["", "--lenient"], ids=["strict", "lenient"])
def test_what_could_not_be_installed_is_refused_in_both_readings(
    words: str, environment: dict[str, str], message: str, reading: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse([*reading.split(), *words.split()], environment)
    assert message in caught.value.message
    assert caught.value.hint


READ_DIFFERENTLY = [
    ("", {"DRY_RUN": "yes"}, "dry-run", "false", "DRY_RUN: 'yes' is neither true nor false"),
    ("", {"REDIRECT_DNS": ""}, "redirect-dns", "false", "REDIRECT_DNS: a value is needed"),
    ("", {"PROBE_TIMEOUT": "foo"}, "probe-timeout", "0", "PROBE_TIMEOUT: 'foo' is no duration"),
    ("", {"PROBE_TIMEOUT": "10"}, "probe-timeout", "0", "PROBE_TIMEOUT: '10' is no duration"),
    ("", {"PROBE_TIMEOUT": "-1s"}, "probe-timeout", "-1", "PROBE_TIMEOUT: '-1s' is no time"),
    ("", {"IPTABLES_PROBE_PORT": "x"}, "iptables-probe-port", "0", "'x' is no number"),
    ("", {"IPTABLES_PROBE_PORT": ""}, "iptables-probe-port", "0", "a value is needed"),
    ("", {"IPTABLES_PROBE_PORT": "70000"}, "iptables-probe-port", "65535", "is not within"),
    ("-m NONE", {}, "istio-inbound-interception-mode", "REDIRECT", "'NONE' is none of"),
    ("-m tproxy", {}, "istio-inbound-interception-mode", "REDIRECT", "did you mean TPROXY?"),
    ("80", {}, "istio-inbound-ports", "", "'80' is no flag"),
    ("-- -b 80", {}, "istio-inbound-ports", "", "'-b' is no flag"),
    ("-b 80 -d *", {}, "istio-local-exclude-ports", "", "'*' cannot stand here"),
    ("-t x", {}, "istio-inbound-tproxy-mark", "1337", "-t (--istio-inbound-tproxy-mark): 'x'"),
    ("-m TPROXY -r main", {}, "istio-inbound-tproxy-route-table", "133", "'main' is no number"),
    (
        "",
        {"ISTIO_OUTBOUND_OWNER_GROUPS": ""},
        "ISTIO_OUTBOUND_OWNER_GROUPS",
        "",
        "ISTIO_OUTBOUND_OWNER_GROUPS: a value is needed, not an empty one",
    ),
    (
        "",
        {"ISTIO_OUTBOUND_OWNER_GROUPS": "5", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "*"},
        "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
        "",
        "'*' cannot stand here",
    ),
    # A stronger one hides it.
    ("-b 80", {"ISTIO_INBOUND_PORTS": "x"}, "istio-inbound-ports", "80", "'x' is no port"),
    ("", {"DUAL_STACK": "x", "ISTIO_DUAL_STACK": "1"}, "dual-stack", "true", "DUAL_STACK: 'x'"),
]
"""Words, variables, an option, its value with ``--lenient``, and the message without."""


@pytest.mark.parametrize(("words", "environment", "key", "text", "message"), READ_DIFFERENTLY)
def test_mistakes_are_refused_or_read_as_istio_does(
    words: str, environment: dict[str, str], key: str, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(words.split(), environment)
    assert message in caught.value.message
    for argv, more in ((["--lenient"], {}), ([], {"INTERCEPTOR_LENIENT": "yes"})):
        given = parse([*argv, *words.split()], environment | more)
        assert given.text(key) == text


def test_a_switch_of_ours_is_read_as_ours() -> None:
    with pytest.raises(ConfigError, match="INTERCEPTOR_LENIENT: 'perhaps' is neither"):
        parse([], {"INTERCEPTOR_LENIENT": "perhaps"})
    for argv in ([], ["--lenient"]):
        assert parse(argv, {"INTERCEPTOR_DEBUG": "on"}).is_on("debug")


@pytest.mark.parametrize(
    ("words", "environment", "note"),
    [
        ("-b 80 -d 90", {}, "-d (--istio-local-exclude-ports) has no effect"),
        (
            "",
            {"ISTIO_OUTBOUND_OWNER_GROUPS": "5", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "6"},
            "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE has no effect",
        ),
        ("", {"ENVOY_PORT": "1"}, "ENVOY_PORT has no effect: Istio reads --envoy-port"),
        ("", {"INBOUND_TPROXY_MARK": "1"}, "Istio reads ISTIO_INBOUND_TPROXY_MARK"),
    ],
)
def test_what_has_no_effect_is_told(words: str, environment: dict[str, str], note: str) -> None:
    notes = parse(words.split(), environment).notes
    assert len(notes) == 1
    assert note in notes[0]


@pytest.mark.parametrize("words", ["", INJECTOR, "-b * -d 80", "-b 80 -d=", "-t 5"])
def test_nothing_is_told_without_a_reason(words: str) -> None:
    argv = ["-b", "80", "-d", ""] if words.endswith("-d=") else words.split()
    assert parse(argv, {"PATH": "/bin"}).notes == ()


@pytest.mark.parametrize(
    ("words", "wanted"), [("-h", True), ("-b 80 --help", True), ("-nh", True), ("-b -h", False)]
)
def test_help_comes_before_any_value_is_read(words: str, wanted: bool) -> None:
    assert wants_help(words.split(), TABLE) is wanted
