"""What ``kumactl install transparent-proxy`` prints for ``iptables-restore``, by its options.

Written down apart from ``rules/kuma.toml``, in Kuma's own words and order: the texts of its
dry run. ``{names}`` are what differs between the families.
"""

from __future__ import annotations

from typing import NamedTuple

PREROUTING = "-A PREROUTING -p tcp -j KUMA_MESH_INBOUND\n"
OUTPUT = "-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND\n"
INBOUND = "-A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT\n"
OUTBOUND = """\
-A KUMA_MESH_OUTBOUND -s {handover} -o lo -j RETURN
-A KUMA_MESH_OUTBOUND -p tcp -o lo ! -d {localhost} -m owner --uid-owner 5678 \
-j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -p tcp -o lo -m owner ! --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -d {localhost} -j RETURN
"""
TO_ALL = "-A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT\n"
OUTBOUND_WITH_DNS = """\
-A KUMA_MESH_OUTBOUND -s {handover} -o lo -j RETURN
-A KUMA_MESH_OUTBOUND -p tcp ! --dport 53 -o lo ! -d {localhost} -m owner --uid-owner 5678 \
-j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -p tcp ! --dport 53 -o lo -m owner ! --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -d {localhost} -j RETURN
"""
REDIRECTS = """\
-A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15001
"""
RAW = """\
-A PREROUTING -p udp --sport 53 -j CT --zone 1
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 5678 -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --uid-owner 5678 -j CT --zone 2
-A OUTPUT -p udp --dport 53 -j CT --zone 2
"""
SOME_DNS = """\
-I OUTPUT 1 -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN
-A OUTPUT -p tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN
-I OUTPUT 2 -d {server} -p udp --dport 53 -j REDIRECT --to-ports 15053
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
"""
SOME_RAW = """\
-A PREROUTING -s {server} -p udp --sport 53 -j CT --zone 1
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 5678 -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --uid-owner 5678 -j CT --zone 2
-A OUTPUT -d {server} -p udp --dport 53 -j CT --zone 2
"""
ALL_DNS = """\
-I OUTPUT 1 -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN
-A OUTPUT -p tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN
-I OUTPUT 2 -p udp --dport 53 -j REDIRECT --to-ports 15053
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
"""

FAMILIES = {
    "iptables": {
        "handover": "127.0.0.6/32",
        "localhost": "127.0.0.1/32",
        "one": "203.0.113.10",
        "many": "10.7.0.0/16",
        "server": "10.2.0.2",
        "vnet": "172.17.0.0/16",
        "bridges": "172.18.0.0/16",
    },
    "ip6tables": {
        "handover": "::6/128",
        "localhost": "::1/128",
        "one": "2001:db8::10",
        "many": "fd07::/16",
        "server": "fd02::2",
        "vnet": "fd17::/64",
        "bridges": "fd18::/64",
    },
}


class Kuma(NamedTuple):
    """Our flags for a configuration, and the chains as Kuma fills them for it.

    ``resolvers`` is what resolv.conf names; ``only_ip`` is that IPv6 gets no rules,
    ``default_ip6`` that it gets those of the defaults.
    """

    flags: tuple[str, ...] = ()
    prerouting: str = PREROUTING
    output: str = OUTPUT
    inbound: str = INBOUND
    outbound: str = OUTBOUND + TO_ALL
    redirects: str = REDIRECTS
    raw: str = ""
    mangle: str = ""
    resolvers: tuple[str, ...] = ()
    only_ip: bool = False
    default_ip6: bool = False

    def text(self, tool: str) -> str:
        """Give what Kuma feeds a family's tool."""
        if self.only_ip and tool == "ip6tables":
            return ""
        if self.default_ip6 and tool == "ip6tables":
            return Kuma().text(tool)
        chains = "".join(
            f"-N KUMA_MESH_{name}\n"
            for name in ("INBOUND", "OUTBOUND", "INBOUND_REDIRECT", "OUTBOUND_REDIRECT")
        )
        nat = self.prerouting + self.output + self.inbound + self.outbound + self.redirects
        parts = {"raw": self.raw, "nat": chains + nat, "mangle": self.mangle}
        written = (f"*{table}\n{text}COMMIT\n" for table, text in parts.items() if text)
        return "".join(written).format(**FAMILIES[tool])


def _option(name: str, value: str = "true") -> tuple[str, str]:
    return "--option", f"{name}={value}"


_ONE = f"{FAMILIES['iptables']['one']},{FAMILIES['ip6tables']['one']}"
_MANY = f"{FAMILIES['iptables']['many']},{FAMILIES['ip6tables']['many']}"
_SERVERS = (FAMILIES["iptables"]["server"], FAMILIES["ip6tables"]["server"])
_VNET = ",".join(
    f"{interface}:{FAMILIES[tool][net]}"
    for interface, net in (("br+", "bridges"), ("docker0", "vnet"))
    for tool in FAMILIES
)
_EXCLUDED_OUT = "".join(
    f"-A KUMA_MESH_OUTBOUND -p tcp --dport {port} -j RETURN\n" for port in (77, 6, 888)
)

CASES = {
    "default": Kuma(),
    "other ports and user": Kuma(
        ("--inbound-port", "25006", "--outbound-port", "25001", "--proxy-uid", "7"),
        outbound=(OUTBOUND + TO_ALL).replace("5678", "7"),
        redirects=REDIRECTS.replace("15006", "25006").replace("15001", "25001"),
    ),
    "IPv4 only": Kuma(("--ip-families", "ipv4"), only_ip=True),
    "all DNS": Kuma(
        ("--capture-dns", "all"), output=ALL_DNS, outbound=OUTBOUND_WITH_DNS + TO_ALL, raw=RAW
    ),
    "DNS to another port": Kuma(
        ("--capture-dns", "all", "--dns-port", "8888"),
        output=ALL_DNS.replace("15053", "8888"),
        outbound=OUTBOUND_WITH_DNS + TO_ALL,
        raw=RAW.replace("15053", "8888"),
    ),
    "DNS, zones not split": Kuma(
        ("--capture-dns", "all", *_option("skip_dns_conntrack_zone_split")),
        output=ALL_DNS,
        outbound=OUTBOUND_WITH_DNS + TO_ALL,
    ),
    "DNS of resolv.conf": Kuma(
        ("--capture-dns", "resolv-conf"),
        output=SOME_DNS,
        outbound=OUTBOUND_WITH_DNS + TO_ALL,
        raw=SOME_RAW,
        resolvers=_SERVERS,
    ),
    "DNS of resolv.conf, one family": Kuma(
        ("--capture-dns", "resolv-conf"),
        output=SOME_DNS,
        outbound=OUTBOUND_WITH_DNS + TO_ALL,
        raw=SOME_RAW,
        resolvers=_SERVERS[:1],
        default_ip6=True,
    ),
    "DNS of a server in the pod": Kuma(
        ("--capture-dns", "resolv-conf", "--ip-families", "ipv4"),
        output="""\
-I OUTPUT 1 -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN
-A OUTPUT -p tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN
-I OUTPUT 2 -d 127.0.0.11 -p udp --dport 53 -j REDIRECT --to-ports 15053
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
""",
        outbound=OUTBOUND_WITH_DNS + TO_ALL,
        raw="""\
-A PREROUTING -s 127.0.0.11 -p udp --sport 53 -j CT --zone 1
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 5678 -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --uid-owner 5678 -j CT --zone 2
-A OUTPUT -d 127.0.0.11 -p udp --dport 53 -j CT --zone 2
-A OUTPUT -s 127.0.0.11 -d 127.0.0.1/32 -p udp -j CT --zone 1
""",
        resolvers=("127.0.0.11",),
        only_ip=True,
    ),
    "excluded ports": Kuma(
        ("--exclude-inbound-ports", "4444,55555,80", "--exclude-outbound-ports", "77,6,888"),
        inbound="".join(
            f"-A KUMA_MESH_INBOUND -p tcp --dport {port} -j RETURN\n" for port in (4444, 55555, 80)
        )
        + INBOUND,
        outbound=_EXCLUDED_OUT + OUTBOUND + TO_ALL,
    ),
    "excluded addresses": Kuma(
        (
            *("--exclude-inbound-cidrs", f"{_MANY},{_ONE}", "--exclude-inbound-ports", "80"),
            *("--exclude-outbound-cidrs", f"{_ONE},{_MANY}"),
        ),
        output="""\
-I OUTPUT 1 -d {one} -j RETURN
-I OUTPUT 2 -d {many} -j RETURN
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
""",
        inbound="""\
-A KUMA_MESH_INBOUND -s {many} -j RETURN
-A KUMA_MESH_INBOUND -s {one} -j RETURN
-A KUMA_MESH_INBOUND -p tcp --dport 80 -j RETURN
-A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT
""",
    ),
    "ports excluded for users": Kuma(
        _option(
            "exclude_outbound_ports_for_uids",
            "tcp:53:106-108,tcp:3000-5000:106-108,udp:53:106-108,udp:3000-5000:106-108,tcp:22:5",
        ),
        output="""\
-I OUTPUT 1 -m multiport -p tcp --dport 53,3000:5000 -m owner --uid-owner 106-108 -j RETURN
-I OUTPUT 2 -m multiport -p udp --dport 53,3000:5000 -m owner --uid-owner 106-108 -j RETURN
-I OUTPUT 3 -m multiport -p tcp --dport 22 -m owner --uid-owner 5 -j RETURN
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
""",
    ),
    "excluded users": Kuma(
        ("--exclude-outbound-uids", "7,4-5", "--exclude-outbound-cidrs", _ONE),
        output="""\
-I OUTPUT 1 -m multiport -p tcp --dport 1:65535 -m owner --uid-owner 7 -j RETURN
-I OUTPUT 2 -m multiport -p udp --dport 1:65535 -m owner --uid-owner 7 -j RETURN
-I OUTPUT 3 -m multiport -p tcp --dport 1:65535 -m owner --uid-owner 4-5 -j RETURN
-I OUTPUT 4 -m multiport -p udp --dport 1:65535 -m owner --uid-owner 4-5 -j RETURN
-I OUTPUT 5 -d {one} -j RETURN
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
""",
    ),
    "included ports": Kuma(
        (
            *("--include-inbound-ports", "80,443", "--exclude-inbound-ports", "443"),
            *("--include-outbound-ports", "5432,80", "--include-outbound-cidrs", ""),
            *("--exclude-outbound-ports", "80"),
        ),
        inbound="""\
-A KUMA_MESH_INBOUND -p tcp --dport 80 -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_INBOUND -p tcp --dport 443 -j KUMA_MESH_INBOUND_REDIRECT
""",
        outbound=OUTBOUND
        + """\
-A KUMA_MESH_OUTBOUND -p tcp --dport 5432 -j KUMA_MESH_OUTBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -p tcp --dport 80 -j KUMA_MESH_OUTBOUND_REDIRECT
""",
    ),
    "nothing inbound": Kuma(
        ("--include-inbound-ports", "", "--exclude-inbound-cidrs", _ONE),
        inbound="-A KUMA_MESH_INBOUND -p tcp -j RETURN\n",
    ),
    "nothing outbound": Kuma(
        ("--include-outbound-cidrs", "", "--exclude-outbound-ports", "6"),
        outbound="-A KUMA_MESH_OUTBOUND -p tcp -j RETURN\n",
    ),
    "networks behind interfaces": Kuma(
        _option("vnet", _VNET),
        prerouting="""\
-I PREROUTING 1 -i br+ -m udp -p udp --dport 53 -j REDIRECT --to-ports 15053
-I PREROUTING 2 ! -d {bridges} -i br+ -p tcp -j REDIRECT --to-ports 15001
-I PREROUTING 3 -i docker0 -m udp -p udp --dport 53 -j REDIRECT --to-ports 15053
-I PREROUTING 4 ! -d {vnet} -i docker0 -p tcp -j REDIRECT --to-ports 15001
-I PREROUTING 5 -p tcp -j KUMA_MESH_INBOUND
""",
    ),
    "invalid packets": Kuma(
        ("--drop-invalid",),
        mangle="-A PREROUTING -m conntrack --ctstate INVALID -j DROP\n",
    ),
    "inserted, not appended": Kuma(
        (
            *("--capture-dns", "all"),
            *_option("redirect_inbound_insert_instead_of_append"),
            *_option("redirect_outbound_insert_instead_of_append"),
        ),
        prerouting="-I PREROUTING 1 -p tcp -j KUMA_MESH_INBOUND\n",
        output="""\
-I OUTPUT 1 -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN
-A OUTPUT -p tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN
-I OUTPUT 2 -p udp --dport 53 -j REDIRECT --to-ports 15053
-I OUTPUT 3 -p tcp -j KUMA_MESH_OUTBOUND
""",
        outbound=OUTBOUND_WITH_DNS + TO_ALL,
        raw=RAW,
    ),
}
