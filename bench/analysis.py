"""What proving costs an installation, and how long a big host's rules take."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.timing import Contender, command, race, show
from tests.lab.dumps import kube_proxy
from tests.lab.paths import PROGRAM

_PROVE = """
import gc, time; gc.disable()
import interceptor.cli.main, interceptor.cli.install_command
from interceptor.config import BackendChoice
from interceptor.facts import HostFacts
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.render import nftables
from interceptor.sheets import loader
from interceptor.sheets.build import build, family_of
sheet = loader.load("sidecar")
config = resolve([DEFAULTS, Layer({SETTINGS}, str)]).config
facts = HostFacts()
policy = build(sheet, config, facts)
lowered = nftables.lower(policy, sheet.dialect)
start = time.perf_counter()
from interceptor.analysis.proof import Rules
from interceptor.analysis.prove import prove
from interceptor.analysis.telling import packet_words
from interceptor.operations.intended import intent_of
loaded = time.perf_counter()
rules = Rules(lowered, family_of(config, facts).members, "nftables", policy=policy)
assert not prove(rules, intent_of(config, sheet, facts))
print((loaded - start) * 1e3, (time.perf_counter() - loaded) * 1e3)
"""

_MANY = "exclude_outbound_cidrs=','.join(f'10.{n >> 8}.{n & 255}.0/25' for n in range(10_000))"
_CASES = {
    "the default configuration": "dict()",
    "TPROXY and DNS": "dict(mode='tproxy', capture_dns='all')",
    "10,000 networks excluded": f"dict({_MANY})",
}
BUDGET_MS = 30
"""What proof may cost an installation of the default configuration."""


def bench(rounds: int) -> None:
    """Print what install's proof costs: importing what it needs, and proving."""
    print(f"\nproof before an installation, both families (budget {BUDGET_MS} ms by default)")
    print("                              import ms  prove ms  best sum ms")
    for name, settings in _CASES.items():
        runs = [_run(_PROVE.replace("{SETTINGS}", settings)) for _ in range(rounds)]
        load, work = (min(run[n] for run in runs) for n in (0, 1))
        print(f"  {name:26}  {load:9.1f}  {work:8.1f}  {min(map(sum, runs)):11.1f}")


def _run(program: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    load, work = map(float, done.stdout.split())
    return load, work


def bench_big_host(rounds: int) -> None:
    """Print how long one packet takes through a host's twenty thousand rules."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kube-proxy"
        file.write_text(kube_proxy(1800, 3))
        argv = ("explain", "outbound", "--to", "10.0.0.1:80", "--file", str(file))
        times = race(
            [
                Contender("interceptor --version", command(PROGRAM, "--version")),
                Contender("explain", command(PROGRAM, *argv)),
            ],
            rounds,
        )
    show("explain, 20,000 rules of kube-proxy", times, beside="interceptor --version")
