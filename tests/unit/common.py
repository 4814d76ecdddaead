"""Short ways to a configuration, a sheet and the rules they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.facts import HostFacts
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.sheets.build import build
from interceptor.sheets.loader import load
from interceptor.sources import sheet_layer
from interceptor.values import Networks

if TYPE_CHECKING:
    from interceptor.config import Config
    from interceptor.model import Ruleset

SHEET = """\
format = 1
name = "mine"
summary = "a proxy of my own"
prefix = "INTERCEPTOR_MINE_"

[nftables]
nat = "interceptor"

[sets.ports]
own = "22 + {tunnel_port} + 7000-7010 - 7005"

[chains.nat]
PREROUTING = [
  { match = "-p tcp", action = "-j INTERCEPTOR_MINE_IN", why = "in" },
]
INTERCEPTOR_MINE_IN = [
  { match = "-p tcp --dport {own}", action = "-j RETURN", why = "own ports" },
  { match = "-p tcp", action = "-j REDIRECT --to-ports {inbound_port}", why = "to the proxy" },
]
"""
"""A small sheet of somebody's own, to change one thing in."""


FACTS = HostFacts(resolvers=Networks.parse("10.0.0.53,fd00::53"))
"""A host with both families, whose processes ask a resolver of each; see ``cases.RESOLV_CONF``."""


def config(**settings: str) -> Config:
    """Give the defaults with some settings, as text."""
    return resolve([DEFAULTS, Layer(settings, lambda key: f"test: {key}")]).config


def config_of(sheet: str, **settings: str) -> Config:
    """Give a sheet's defaults with some settings."""
    layer = Layer({"sheet": sheet, **settings}, lambda key: f"test: {key}")
    return resolve([DEFAULTS, sheet_layer(load(sheet)), layer]).config


def rules(sheet: str = "sidecar", **settings: str) -> Ruleset:
    """Build a sheet, with its own defaults, for a host with both families."""
    return build(load(sheet), config_of(sheet, **settings), FACTS)
