"""docs/cni.md says what there is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from interceptor.cni import annotations as pods
from interceptor.cni.netconf import Lookup, PluginConf
from interceptor.cni.protocol import VERBS, Code
from interceptor.cni.selector import DEFAULT_SELECTOR, INJECT

_TEXT = (Path(__file__).parent.parent.parent / "docs" / "cni.md").read_text()


def test_the_entry_shown_is_read_and_has_every_key() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", _TEXT, re.DOTALL)
    entry = msgspec.json.decode(block)
    conf = msgspec.convert(entry["interceptor"], PluginConf)
    assert set(entry["interceptor"]) == set(PluginConf.__struct_fields__)
    assert set(entry["interceptor"]["lookup"]) == set(Lookup.__struct_fields__)
    assert conf.selector == DEFAULT_SELECTOR
    assert (conf.state_dir, conf.log_max_bytes) == (PluginConf().state_dir, 10 << 20)


def test_every_verb_code_and_annotation_is_there() -> None:
    first_cells = re.findall(r"^\| ([^|]+) \|", _TEXT, re.MULTILINE)
    assert {verb for verb in VERBS if verb in first_cells} == set(VERBS)
    assert {str(int(code)) for code in Code} == {c for c in first_cells if c.isdigit()}
    for name in (*pods._ISTIOS, INJECT, pods._CONFIG):
        assert f"`{name}`" in _TEXT, name
