"""Do a few configurations again: ``python -m tests.lab.differential RULE-PATH SEED...``."""

from __future__ import annotations

import sys

from tests.lab.differential.compare import rounds
from tests.lab.paths import RULE_PATHS

_PACKETS = 500


def main(path_name: str, *seeds: str) -> int:
    """Print what disagrees; 1 if anything does."""
    path = next(path for path in RULE_PATHS if path.name == path_name)
    done = list(rounds(path, seeds, _PACKETS * len(seeds), _PACKETS))
    for one in done:
        print(*one.wrong, sep="\n")
        print(f"{one.packets} packets, {len(one.wrong)} disagreements: {dict(one.fates)}")
    return int(any(one.wrong for one in done))


sys.exit(main(*sys.argv[1:]))
