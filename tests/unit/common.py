"""Short ways to a configuration, a sheet and the rules they mean."""

from __future__ import annotations

from interceptor.config import Config
from interceptor.facts import HostFacts
from interceptor.model import Ruleset
from interceptor.settings import DEFAULTS, Layer, resolve
from interceptor.sheets.build import build
from interceptor.sheets.loader import load


def config(**settings: str) -> Config:
    """Give the defaults with some settings, as text."""
    return resolve([DEFAULTS, Layer(settings, lambda key: f"test: {key}")]).config


def rules(sheet: str = "sidecar", **settings: str) -> Ruleset:
    """Build a sheet for a host with both families."""
    return build(load(sheet), config(**settings), HostFacts())
