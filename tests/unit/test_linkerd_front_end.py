"""proxy-init's command line: what its flags come to here, and what is refused."""

from __future__ import annotations

import pytest

from interceptor.errors import ConfigError
from interceptor.frontends.linkerd.options import TABLE
from interceptor.frontends.linkerd.translate import Run, read
from interceptor.layers import DEFAULTS, Layer, resolve

PROXY_INIT = """\
incoming-proxy-port      p -
outgoing-proxy-port      o -
proxy-uid                u -1
proxy-gid                g -1
ports-to-redirect        r -
inbound-ports-to-ignore  - -
outbound-ports-to-ignore - -
subnets-to-ignore        - -
simulate                 - false
netns                    - -
use-wait-flag            w false
timeout-close-wait-secs  - 0
log-format               - plain
log-level                - info
iptables-mode            - -
ipv6                     - true
firewall-bin-path        - -
firewall-save-bin-path   - -
"""
"""Long flag, short one, default."""

NEEDED = "-p 4143 -o 4140 -u 2102"
INJECTOR = (
    "--incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102 --proxy-gid 2102 "
    "--inbound-ports-to-ignore 4190,4191,4567,4568 --outbound-ports-to-ignore 4567,4568 "
    "--ipv6=false --iptables-mode nft --log-format json --log-level warn"
)


def run(words: str, **environment: str) -> Run:
    return read(words.split(), environment)


def texts(words: str, **environment: str) -> dict[str, str]:
    return run(words, **environment).translation.texts()


@pytest.mark.parametrize("line", PROXY_INIT.splitlines(), ids=lambda line: line.split()[0])
def test_every_flag_of_proxy_init_is_there(line: str) -> None:
    key, *rest = line.split()
    short, default = ("" if text == "-" else text for text in rest)
    option = TABLE.rows[key]
    assert (option.short, option.unset) == (short, default)


def test_no_flag_is_there_that_proxy_init_has_not_but_ours() -> None:
    listed = {line.split()[0] for line in PROXY_INIT.splitlines()}
    others = {key for key, row in TABLE.rows.items() if key not in listed and not row.ours}
    assert others == {"help"}


def test_the_fewest_flags_say_what_proxy_init_means_by_them() -> None:
    assert texts(NEEDED) == {
        "sheet": "linkerd",
        "inbound_port": "4143",
        "outbound_port": "4140",
        "proxy_uid": "2102",
        "proxy_gid": "",
        "include_inbound_ports": "*",
        "exclude_inbound_ports": "",
        "exclude_outbound_ports": "",
        "exclude_inbound_cidrs": "",
        "ip_families": "dual",
        "backend": "iptables",
        "iptables_variant": "legacy",
    }


def test_a_config_takes_what_the_injector_writes() -> None:
    translation = run(INJECTOR).translation
    origins = translation.origins()
    config = resolve([DEFAULTS, Layer(translation.texts(), lambda key: origins[key])]).config
    assert (config.inbound_port, config.outbound_port) == (4143, 4140)
    assert (str(config.proxy_uid), str(config.proxy_gid)) == ("2102", "2102")
    assert config.exclude_inbound_ports.text == "4190,4191,4567,4568"
    assert config.exclude_outbound_ports.text == "4567,4568"
    assert (config.ip_families, config.iptables_variant) == ("ipv4", "nft")
    assert config.output == "json"


SAID = [
    ("--incoming-proxy-port=0x1000", "inbound_port", "4096"),
    ("-p 1 -p 2", "inbound_port", "2"),
    ("-p1", "inbound_port", "1"),
    ("-u 5", "proxy_uid", "5"),
    ("-u 0 -g 7", "proxy_uid", ""),
    ("-u -1 -g 7", "proxy_gid", "7"),
    ("-g 0", "proxy_gid", ""),
    ("-r 80,81 -r 0x52", "include_inbound_ports", "80,81,82"),
    ("--inbound-ports-to-ignore 25,8000-8100", "exclude_inbound_ports", "25,8000-8100"),
    ("--inbound-ports-to-ignore 1 --inbound-ports-to-ignore 2", "exclude_inbound_ports", "1,2"),
    ("--inbound-ports-to-ignore=", "exclude_inbound_ports", ""),
    ("--outbound-ports-to-ignore 25", "exclude_outbound_ports", "25"),
    (
        "--subnets-to-ignore 10.1.2.3/8,fd00::1/64",
        "exclude_inbound_cidrs",
        "10.0.0.0/8,fd00::/64",
    ),
    ("--ipv6=false", "ip_families", "ipv4"),
    ("--ipv6", "ip_families", "dual"),
    ("--iptables-mode legacy", "iptables_variant", "legacy"),
    ("--iptables-mode nft", "iptables_variant", "nft"),
    ("--iptables-mode plain", "iptables_variant", "auto"),
    ("--firewall-bin-path iptables-nft", "iptables_variant", "nft"),
    (
        "--firewall-bin-path iptables-nft --iptables-mode legacy --firewall-save-bin-path x",
        "iptables_variant",
        "legacy",
    ),
    ("--netns /proc/7/ns/net", "netns", "/proc/7/ns/net"),
    ("--log-format json", "output", "json"),
    ("--log-format json --output human", "output", "human"),
    ("--backend nftables", "backend", "nftables"),
    ("-w --log-level WARNING", "backend", "iptables"),
]


@pytest.mark.parametrize(("words", "setting", "text"), SAID)
def test_what_a_flag_comes_to(words: str, setting: str, text: str) -> None:
    assert texts(f"{NEEDED} {words}")[setting] == text


def test_what_a_run_is_to_do() -> None:
    assert not run(NEEDED).simulate
    assert run(NEEDED).close_wait_s == 0
    assert run(f"{NEEDED} --simulate --timeout-close-wait-secs 3600").simulate
    assert run(f"{NEEDED} --timeout-close-wait-secs 3600").close_wait_s == 3600


def test_a_list_may_have_spaces() -> None:
    argv = [*NEEDED.split(), "--inbound-ports-to-ignore", "80, 443"]
    assert read(argv, {}).translation.texts()["exclude_inbound_ports"] == "80,443"


def test_its_own_flags_have_no_variables_and_ours_have() -> None:
    assert texts(NEEDED, INCOMING_PROXY_PORT="1", INTERCEPTOR_OUTPUT="json")["output"] == "json"
    assert texts(f"{NEEDED} --output human", INTERCEPTOR_OUTPUT="json")["output"] == "human"


REFUSED = [
    ("-o 4140 -u 2102", "--incoming-proxy-port is needed"),
    ("-p 4143 -u 2102", "--outgoing-proxy-port is needed"),
    ("-p 4143 -o 4140", "--proxy-uid, --proxy-gid: neither is above 0"),
    (f"{NEEDED} -u 0", "--proxy-uid, --proxy-gid: neither is above 0"),
    ("-p 0 -o 4140 -u 2102", "-p (--incoming-proxy-port): port 0 is not within 1..65535"),
    ("-p 65536 -o 1 -u 1", "-p (--incoming-proxy-port): port 65536 is not within 1..65535"),
    (f"{NEEDED} --inbound-ports-to-ignore 4190,x", "'x' is no port, and no range as 80-90"),
    (f"{NEEDED} --inbound-ports-to-ignore 4190,,1", "an empty item in '4190,,1'"),
    (f"{NEEDED} --inbound-ports-to-ignore 90-80", "the range '90-80' runs backwards"),
    (f"{NEEDED} --inbound-ports-to-ignore 80:90", "'80:90' is no port, and no range as 80-90"),
    (f"{NEEDED} --outbound-ports-to-ignore *", "'*' is no port"),
    (f"{NEEDED} --outbound-ports-to-ignore 99999", "port 99999 is not within"),
    (f"{NEEDED} -r 80,x", "-r (--ports-to-redirect): 'x' is no number"),
    (f"{NEEDED} -r 80-90", "-r (--ports-to-redirect): '80-90' is no number"),
    (f"{NEEDED} --subnets-to-ignore 10.0.0.0", "'10.0.0.0' has no length: write 10.0.0.0/32"),
    (f"{NEEDED} --subnets-to-ignore far", "'far' is no network"),
    (f"{NEEDED} --iptables-mode ebpf", "--iptables-mode: 'ebpf' is none of , legacy, nft, plain"),
    (f"{NEEDED} --firewall-bin-path /x", "--firewall-bin-path: '/x' is none of"),
    (f"{NEEDED} --timeout-close-wait-secs -1", "-1 is less than nothing"),
    (f"{NEEDED} --ipv6=maybe", "--ipv6: 'maybe' is neither true nor false"),
    (f"{NEEDED} --log-level loud", "--log-level: 'loud' is none of"),
    (f"{NEEDED} --proxy-user envoy", "there is no flag --proxy-user"),
    (f"{NEEDED} -x", "there is no flag -x"),
    (f"{NEEDED} now", "'now' is no flag; proxy-init ignores it"),
    (f"{NEEDED} --netns", "--netns: a value is needed"),
    # Also where a later one takes its place.
    (f"{NEEDED} -p x -p 4143", "-p (--incoming-proxy-port): 'x' is no number"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_mistakes_are_refused_by_name(words: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(words)
    assert message in caught.value.message
    assert caught.value.hint
