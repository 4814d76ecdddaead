"""Documents: what is written is what is read, in each language, and faults name their line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from interceptor.cli.main import run
from interceptor.documents import read
from interceptor.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "written",
    ["010", "0x539", "yes", "no", "on", "1e3", "22:22", "1_000", "2020-01-01", ".5", "="],
)
@pytest.mark.parametrize("form", ["a: {}", "{{a: {}}}", "a: '{}'", 'a: !!int "{}"', "&x a: &y {}"])
def test_yaml_keeps_what_is_written(written: str, form: str) -> None:
    assert read(form.format(written), ".yaml", "f").values == {"a": written}
    assert read(f"a: [{written}, '2']", ".yaml", "f").values == {"a": [written, "2"]}


@pytest.mark.parametrize("written", ["", "~", "null", "Null", "NULL", "&x", "# nothing"])
def test_yaml_knows_no_value(written: str) -> None:
    assert read(f"a: {written}", ".yaml", "f").values == {"a": None}
    assert read("a: ''\nb: 'null'\nc: !!str null", ".yaml", "f").values == {
        "a": "",
        "b": "null",
        "c": "null",
    }


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "---\n...\n", "~", "{}"])
def test_an_empty_yaml_file_has_no_keys(text: str) -> None:
    assert read(text, ".yaml", "f").values == {}


def test_json_and_toml_keep_numbers_as_they_are_written() -> None:
    text = '{"a": 1e3, "b": 10, "c": true, "d": null, "e": [1.50]}'
    values = {"a": "1e3", "b": "10", "c": True, "d": None, "e": ["1.50"]}
    assert read(text, ".json", "f").values == values
    text = "a = 1e3\nb = 10\nc = true\ne = [1.50]"
    assert read(text, ".toml", "f").values == {"a": "1e3", "b": 10, "c": True, "e": ["1.50"]}


def test_an_alias_repeats_a_value() -> None:
    text = "a: &ports [80, 90]\nb: *ports\n"
    assert read(text, ".yml", "f").values == {"a": ["80", "90"], "b": ["80", "90"]}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ('{"a": "1"}', "JSON"),
        (' {"a": "1"}', "JSON"),
        ("{a: 1}", "YAML"),
        ("a: 1", "YAML"),
        ("a = '1'", "TOML"),
        ("", "TOML"),
    ],
)
def test_a_language_is_found_by_its_looks(text: str, language: str) -> None:
    document = read(text, "", "f")
    assert document.language == language
    assert document.values in ({}, {"a": "1"})


@pytest.mark.parametrize("extension", [".json", ".toml", ".yaml"])
def test_a_line_is_in_the_documents_language(extension: str) -> None:
    text = {".json": '{"a": 1}', ".toml": "a = 1", ".yaml": "a: 1"}[extension]
    line = read(text, extension, "f").line("b", "x")
    if extension == ".json":
        line = f"{{{line}}}"
    assert read(line, extension, "f").values == {"b": "x"}


_FAULTS = [
    (".json", '{"a": 1, "a": 1}', "f: as JSON: the key 'a' is there twice"),
    (".json", '{"b": {"a": 1, "a": 1}}', "the key 'a' is there twice"),
    (".json", '{"a": NaN}', "NaN is no JSON"),
    (".json", '{"a":\n}', "line 2: Expecting value"),
    (".json", "", "as JSON: line 1"),
    (".json", "[1]", "it holds something else than keys and values"),
    (".json", "null", "it holds something else than keys and values"),
    (".json", '{"a":' + "[" * 100_000, "it is nested too deep"),
    (".toml", "a = 1\na = 1", "as TOML: Cannot overwrite a value (at "),
    (".toml", "a = 010", "(at line 1"),
    (".toml", "a = " + "[" * 100_000, "it is nested too deep"),
    (".yaml", "a: 1\nb: 2\na: 1", "f: as YAML: line 3: the key 'a' is there twice"),
    (".yaml", "b:\n  a: 1\n  'a': 1", "line 3: the key 'a' is there twice"),
    (".yaml", "a: '", "line 1: found unexpected end of stream"),
    (".yaml", "a: 1\n\tb: 1", "line 2: "),
    (".yaml", "a: \0", "control characters are not allowed"),
    (".yaml", "- a", "it holds something else than keys and values"),
    (".yaml", "a", "it holds something else than keys and values"),
    (".yaml", "? [a]\n: b", "line 1: a key is a text"),
    (".yaml", "a: 1\n---\nb: 1", "it holds several documents"),
    (".yaml", "a: *x", "line 1: nothing is called &x"),
    (".yaml", "a: &x [*x]", "line 1: nothing is called &x"),
    (".yaml", "a: " + "[" * 100_000, "as YAML: line"),
    (".yaml", "a:\n" + "- " * 100_000, "line 2: it is nested too deep"),
    ("", "a: 1\na: 1", "as TOML: "),
    ("", "{a: 1, a: 1}", "as JSON: "),
]


@pytest.mark.parametrize(
    ("extension", "text", "says"), _FAULTS, ids=[f"{row[0]} {row[1][:20]!a}" for row in _FAULTS]
)
def test_a_fault_is_named(extension: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, extension, "f")
    assert says in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["c.json", "c.toml", "c.yaml", "c"])
def test_a_byte_order_mark_is_no_part_of_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = {"c.toml": "inbound_port = 7", "c.yaml": "inbound_port: 7"}.get(
        name, '{"inbound_port": 7}'
    )
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert run(["render", "--config", str(path)]) == 0
    assert "redirect to :7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("proxy_uid: 010", 0, "meta skuid 10 "),
        ("include_inbound_ports: 22:22", 2, "every inbound port you include is excluded"),
        ("inbound_port: 1e3", 2, "'1e3' is no port"),
        ("inbound_port: yes", 2, "'yes' is no port"),
        ("timeout: 1e1", 0, "table inet"),
    ],
)
def test_a_setting_reads_what_yaml_has(
    text: str, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert run(["render", "--config", str(path)]) == code
    out, err = capsys.readouterr()
    assert says in out + err


@pytest.mark.parametrize("more", ["mode = 'no such'", "sheet = '/no/such.toml'"])
def test_a_file_that_asks_for_json_has_its_faults_told_as_json(
    more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f"output = 'json'\n{more}\n")
    assert run(["render", "--config", str(path)]) == 2
    assert "no such" in capsys.readouterr().out.replace("/no/such", "no such")


def test_later_faults_are_told_as_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("output = 'json'\nnetns = '/no/such'\n")
    assert run(["status", "--config", str(path)]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2
