"""iptables-legacy read and written by python-iptables, beside its own tools."""

from __future__ import annotations

import sys

from bench.timing import Contender, command, race, show
from tests.lab.netns import namespaces
from tests.lab.paths import IPTABLES_LEGACY, done_well

_READ = "from interceptor.backends import libiptc; from interceptor.names import Family; "
_DUMP = "from interceptor.system.deadline import Deadline; libiptc.dump(Family.IP, Deadline(9))"
_WRITE = """
import iptc
table = iptc.Table(iptc.Table.NAT, autocommit=False)
table.refresh()
chain = table.create_chain("BENCH")
for port in range(1, 13):
    rule = iptc.Rule()
    rule.protocol = "tcp"
    rule.create_match("tcp").dport = str(port)
    rule.create_match("comment").comment = "why"
    rule.target = iptc.Target(rule, "RETURN")
    chain.append_rule(rule)
table.commit()
"""
_TEXT = "*nat\n:BENCH - [0:0]\n{}COMMIT\n".format(
    "".join(
        f"-A BENCH -p tcp --dport {n} -m comment --comment why -j RETURN\n" for n in range(1, 13)
    )
)


def bench(rounds: int) -> None:
    """Print both, with the interpreter's start and the library's import, and without."""
    python = sys.executable
    with namespaces("bench") as (namespace,):
        inside = ("ip", "netns", "exec", namespace.name)
        done_well("install", *IPTABLES_LEGACY.flags, namespace=namespace)
        save = command(*inside, "iptables-legacy-save")
        times = race(
            [
                Contender("iptables-legacy-save", save),
                Contender("python, import iptc", command(*inside, python, "-c", "import iptc")),
                Contender("python-iptables, read", command(*inside, python, "-c", _READ + _DUMP)),
            ],
            rounds,
        )
        show("iptables-legacy, read", times, beside="iptables-legacy-save")

        def drop() -> None:
            namespace.run("iptables-legacy-restore", stdin="*nat\nCOMMIT\n")

        restore = command(*inside, "iptables-legacy-restore", "--noflush", stdin=_TEXT)
        times = race(
            [
                Contender("iptables-legacy-restore", restore, drop),
                Contender("python-iptables, write", command(*inside, python, "-c", _WRITE), drop),
            ],
            rounds,
        )
        show("iptables-legacy, write 12 rules", times, beside="iptables-legacy-restore")
