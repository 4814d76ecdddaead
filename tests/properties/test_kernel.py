"""What holds for any settings in a real kernel, on every rule path."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from interceptor.backends.drift import Kind
from interceptor.backends.interface import Wanted
from interceptor.dialect import OWN
from interceptor.model import Ruleset
from interceptor.operations.site import Site
from interceptor.operations.transaction import Change, apply
from interceptor.sheets.loader import load
from interceptor.system.deadline import Deadline
from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import RULE_PATHS, RulePath, dump
from tests.properties import strategies

pytestmark = pytest.mark.root

_FOREIGN = """\
*nat
:THEIRS - [0:0]
-A PREROUTING -i eth7 -j THEIRS
-A OUTPUT -p udp -m udp --dport 53 -j THEIRS
-A THEIRS -p tcp -m tcp --dport 5 -j REDIRECT --to-ports 6
COMMIT
"""


@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_from_any_settings_to_any_others_and_away(path: RulePath) -> None:
    """What was written is read back, a second time changes nothing, and away is as before."""
    sheet = load("sidecar")

    def settle(namespace: Namespace, target: Ruleset, made: dict[str, None]) -> int:
        deadline = Deadline(30)
        with namespace:
            backend = Site(deadline).backend(path.name)
            made.update(dict.fromkeys(backend.made(target)))
            wanted = Wanted(target, tuple(made))
            [steps] = apply([Change(backend, wanted, backend.observe(deadline))], deadline)
            found = backend.findings(target, backend.observe(deadline))
            assert {finding.kind for finding in found} <= {Kind.FOREIGN_BEFORE}
        return len(steps)

    with namespaces("any") as (namespace,):
        variant = "legacy" if path.name == "iptables-legacy" else "nft"
        for tool in ("iptables", "ip6tables"):
            namespace.run(f"{tool}-{variant}-restore", "--noflush", stdin=_FOREIGN)
        before = dump(namespace)

        @given(strategies.settings, strategies.settings)
        @settings(max_examples=25)
        def there_and_back(first: dict[str, str], second: dict[str, str]) -> None:
            deadline = Deadline(30)
            made: dict[str, None] = {}
            with namespace:
                backend = Site(deadline).backend(path.name)
            # Both first: settings that contradict one another are no example, and end it here.
            built = [strategies.rules(sheet, chosen) for chosen in (first, second)]
            for target in (backend.target(ruleset, OWN) for ruleset in built):
                settle(namespace, target, made)
                assert settle(namespace, target, made) == 0
            settle(namespace, Ruleset(), made)
            assert dump(namespace) == before

        there_and_back()
