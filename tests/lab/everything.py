"""The sheet in which a sheet's every word stands, and settings that bring all of it out."""

from __future__ import annotations

from pathlib import Path

SHEET = str(Path(__file__).with_name("everything.toml"))

OPTIONS = {
    "operators": "5,7-9",
    "uplinks": "eth7,tun+",
    "side_port": "8443",
    "hide": "yes",
    "strictness": "strict",
    "left": "tcp:22:1000-1005,udp:53:7",
    "vnet": "docker0:172.17.0.0/16,br+:fd00:17::/64",
}
FLAGS = tuple(part for name, value in OPTIONS.items() for part in ("--option", f"{name}={value}"))
TEXT = ";".join(f"{name}={value}" for name, value in OPTIONS.items())
