"""Short ways to a configuration, a sheet and the rules they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.facts import HostFacts
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.sheets.build import build
from interceptor.sheets.loader import load

if TYPE_CHECKING:
    from interceptor.config import Config
    from interceptor.model import Ruleset


def config(**settings: str) -> Config:
    """Give the defaults with some settings, as text."""
    return resolve([DEFAULTS, Layer(settings, lambda key: f"test: {key}")]).config


def rules(sheet: str = "sidecar", **settings: str) -> Ruleset:
    """Build a sheet for a host with both families."""
    return build(load(sheet), config(**settings), HostFacts())
