"""What a configuration wants, in the dialect of a sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.analysis.intent import Intent
from interceptor.sheets.build import family_of
from interceptor.sheets.vocabulary import Vocabulary
from interceptor.values import Networks, Ports

if TYPE_CHECKING:
    from interceptor.config import Config
    from interceptor.facts import HostFacts
    from interceptor.sheets.sheet import Sheet


def intent_of(config: Config, sheet: Sheet, facts: HostFacts) -> Intent:
    """Give what a configuration wants, of the dialect it is in.

    Raises:
        ConfigError: an account name that this host does not know.
        SheetError: a set of the sheet that makes no sense.
    """
    config = config.with_accounts(facts.users, facts.groups)
    vocabulary = Vocabulary.of(config, sheet, facts, family_of(config, facts))
    kept = vocabulary.value("kept_ports") if "kept_ports" in sheet.sets.ports else Ports()
    addresses = "kept_networks" in sheet.sets.networks
    others = vocabulary.value("kept_networks") if addresses else Networks()
    resolvers = vocabulary.value("captured_resolvers")
    if not (
        isinstance(kept, Ports)
        and isinstance(resolvers, Networks)
        and isinstance(others, Networks)
    ):
        raise TypeError(kept, resolvers, others)
    return Intent(config, resolvers, kept, others)
