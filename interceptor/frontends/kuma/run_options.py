"""Kuma's options about a run, and those that are refused."""

from __future__ import annotations

from interceptor.frontends.kuma.variables import in_files
from interceptor.frontends.option import Option
from interceptor.frontends.reading import count, duration, number

_WAITS = "the namespace's one lock is waited for, until --timeout"
_WHOLE = "what fails is undone as a whole, and said"


RUN = in_files(
    Option(
        key="config",
        kind="FILE",
        repeated=True,
        help="YAML or JSON: a path, several with commas, - for stdin, or the text itself",
    ),
    Option(key="config-file", kind="FILE", repeated=True, help="a path, or - for stdin"),
    Option(key="dry-run", path="dryRun", kind="", help="print the rules and touch nothing"),
    Option(
        key="verbose",
        path="verbose",
        kind="",
        help="without effect: rules always say why they are there",
    ),
    Option(
        key="",
        path="cniMode",
        kind="",
        help="names of users are not looked up: the files here are the host's",
    ),
    Option(
        key="wait",
        path="wait",
        kind="SECONDS",
        default="5",
        read=count,
        help="without effect",
        idle=_WAITS,
    ),
    Option(
        key="wait-interval",
        path="waitInterval",
        kind="MICROSECONDS",
        default="0",
        read=count,
        help="without effect",
        idle=_WAITS,
    ),
    Option(
        key="max-retries",
        path="retry.maxRetries",
        kind="NUMBER",
        default="4",
        read=number,
        help="without effect",
        idle=_WHOLE,
    ),
    Option(
        key="sleep-between-retries",
        path="retry.sleepBetweenRetries",
        kind="DURATION",
        default="2",
        read=duration,
        help="without effect",
        idle=_WHOLE,
    ),
)

_EXECUTABLES = (
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
)
_ONE_OF_PATH = {
    "lacks": "programs are those of PATH",
    "instead": "set PATH, or choose with --iptables-variant",
}

REFUSED = in_files(
    Option(
        key="iptables-logs",
        path="log.enabled",
        kind="",
        help="refused: no rule writes to the kernel's log",
        lacks="no rule writes to the kernel's log",
        instead="leave it out: interceptor trace shows each decision",
    ),
    Option(
        key="",
        path="log.level",
        kind="LEVEL",
        default="7",
        read=count,
        help="without effect: nothing is logged",
    ),
    Option(
        key="disable-comments",
        path="comments.disabled",
        kind="",
        help="refused: rules are found again by what they say",
        lacks="rules keep their comments, by which they are found again",
        instead="leave it out",
    ),
    Option(
        key="store-firewalld",
        path="storeFirewalld",
        kind="",
        help="refused: firewalld is not told",
        lacks="firewalld is not told",
        instead="leave it out, and run this after firewalld has started",
    ),
    Option(
        key="iptables-executables",
        path="iptablesExecutables",
        kind="NAME:PATH",
        repeated=True,
        help="refused: programs are those of PATH",
        lacks=_ONE_OF_PATH["lacks"],
        instead=_ONE_OF_PATH["instead"],
    ),
    *(
        Option(
            key="",
            kind="PATH",
            path=f"iptablesExecutables.{name}",
            help="refused, as the one before",
            lacks=_ONE_OF_PATH["lacks"],
            instead=_ONE_OF_PATH["instead"],
        )
        for name in _EXECUTABLES
    ),
    Option(
        key="ebpf-enabled",
        path="ebpf.enabled",
        kind="",
        help="refused: Kuma has no eBPF any more",
        lacks="Kuma has no eBPF any more, and had other rules with it",
        instead="leave it out, or see interceptor install --backend ebpf",
    ),
    *(
        Option(
            key=f"ebpf-{flag}" if flag else "",
            path=f"ebpf.{path}",
            kind="TEXT",
            help="without effect",
        )
        for path, flag in {
            "instanceIP": "instance-ip",
            "instanceIPEnvVarName": "",
            "bpffsPath": "bpffs-path",
            "cgroupPath": "cgroup-path",
            "programsSourcePath": "programs-source-path",
            "tcAttachIface": "tc-attach-iface",
        }.items()
    ),
    *(
        Option(
            key=key,
            kind="TEXT",
            help="refused: Kuma took it away",
            lacks="Kuma took this flag away",
            instead=f"give {instead}",
        )
        for key, instead in {
            "kuma-dp-uid": "--kuma-dp-user",
            "redirect-inbound-port-v6": "--redirect-inbound-port, which is for both families",
            "exclude-outbound-tcp-ports-for-uids": "--exclude-outbound-ports-for-uids tcp:...",
            "exclude-outbound-udp-ports-for-uids": "--exclude-outbound-ports-for-uids udp:...",
        }.items()
    ),
)
