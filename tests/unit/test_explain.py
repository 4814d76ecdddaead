"""explain, prove, diff and graph as commands: sources, packets, answers, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from interceptor.cli.main import run
from tests.lab.dumps import kube_proxy

_DUMPS = Path(__file__).parent.parent / "lab" / "dumps"


def asked(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> Any:
    """Run a command and give what it says as JSON."""
    assert run([*argv, "--output", "json"]) == code, capsys.readouterr()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("argv", "fate"),
    [
        ("outbound --to 10.0.0.1:80 --uid 1000", "redirect to 15001"),
        ("outbound --to 10.0.0.1 --uid 1337", "direct"),
        ("outbound --to 10.0.0.1 --gid 1337", "direct"),
        ("outbound --to [fd00::1]:443", "redirect to 15001"),
        ("outbound --to fd00::1", "redirect to 15001"),
        ("outbound --to 127.0.0.1:80", "direct"),
        ("outbound --to 10.0.0.1:80 --out-interface lo --uid 1337", "redirect to 15006"),
        ("outbound --to 10.0.0.1 --out-interface lo --uid 1337 --from 127.0.0.6", "direct"),
        ("outbound --proto udp --to-port 53", "direct"),
        ("outbound --proto udp --to-port 53 --capture-dns all", "redirect to 15053"),
        ("outbound --mark 7 --exempt-mark 7", "direct"),
        ("inbound --to-port 8080 --from 10.0.0.9", "redirect to 15006"),
        ("inbound --to-port 22", "direct"),
        ("inbound --to-port 8080 --mode tproxy", "tproxy to 15006"),
        ("inbound --to-port 8080 --in-interface eth1 --exclude-interfaces eth1", "direct"),
        ("inbound --state invalid --drop-invalid", "drop"),
        ("inbound --to-port 15008 --sheet istio --mode tproxy", "tproxy to 15006"),
        ("inbound --to-port 8080 --backend iptables", "redirect to 15006"),
    ],
)
def test_what_becomes_of_a_packet(
    argv: str, fate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = asked(capsys, "explain", *argv.split())
    assert facts["fate"] == fate
    if fate.startswith("redirect"):
        assert fate in [visit["does"] for visit in facts["path"]]


@pytest.mark.parametrize(
    ("argv", "legs"),
    [
        (
            "outbound --to 10.0.0.1",
            [("app", "proxy:15001", "redirect to 15001"), ("proxy", "outside", "direct")],
        ),
        (
            "inbound --to-port 80",
            [("client", "proxy:15006", "redirect to 15006"), ("proxy", "app", "direct")],
        ),
        (
            "inbound --to-port 80 --mode tproxy",
            [("client", "proxy:15006", "tproxy to 15006"), ("proxy", "app", "direct")],
        ),
        ("inbound --to-port 22", [("client", "app", "direct")]),
        ("outbound --uid 1337", [("proxy", "outside", "direct")]),
    ],
)
def test_the_whole_journey(
    argv: str, legs: list[tuple[str, str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    facts = asked(capsys, "explain", *argv.split())
    assert [(leg["from"], leg["to"], leg["fate"]) for leg in facts["journey"]] == legs


def test_a_trace_is_in_the_kernels_order(capsys: pytest.CaptureFixture[str]) -> None:
    lines = asked(
        capsys, "explain", "outbound", "--capture-dns", "all", "--proto", "udp", "--to-port",
        "53", "--backend", "iptables", "--trace",
    )["trace"]  # fmt: skip
    hooks = [line for line in lines if " priority " in line]
    assert hooks == [
        "output priority -300: ip raw OUTPUT",
        "output priority -100: ip nat OUTPUT",
        "prerouting priority -300: ip raw PREROUTING",
        "prerouting priority -100: ip nat PREROUTING, not asked again",
        *hooks[4:],
    ]
    assert "fate redirect to 15053" in lines


@pytest.mark.parametrize(
    ("name", "argv", "fate"),
    [
        ("istio.ip", "inbound --to-port 8080", "redirect to 15006"),
        ("istio.ip6", "outbound --to fd00::1", "redirect to 15001"),
        ("linkerd.ip", "inbound --to-port 8080", "redirect to 4143"),
        ("kuma.ip", "outbound --to 10.0.0.1", "redirect to 15001"),
        ("consul.ip", "inbound --to-port 8080", "redirect to 20000"),
        ("osm.ip", "inbound --to-port 15010", "direct"),
    ],
)
def test_dumps_of_other_meshes(
    name: str, argv: str, fate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = asked(capsys, "explain", *argv.split(), "--file", str(_DUMPS / name))
    assert facts["fate"] == fate


def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "d"
    file.write_text("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j NFQUEUE\nCOMMIT\n")
    facts = asked(capsys, "explain", "outbound", "--file", str(file), code=3)
    assert facts["fate"] == "unknown: nat OUTPUT rule 1: -p tcp -j NFQUEUE"


def test_a_host_with_twenty_thousand_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How long it takes is in make bench; that it ends and finds the service is here."""
    file = tmp_path / "kube"
    text = kube_proxy(1800, 3)
    assert text.count("\n-A ") > 20_000
    file.write_text(text)
    assert run(["explain", "outbound", "--to", "10.0.0.1:80", "--file", str(file)]) in (0, 3)
    assert "kube" in capsys.readouterr().out


def test_a_proof_that_takes_too_long_is_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kube"
    file.write_text(kube_proxy(1800, 3))
    assert run(["prove", "--file", str(file), "--timeout", "1"]) == 1
    assert "error: proving: not done within 1 seconds" in capsys.readouterr().err


def test_a_sheet_is_compared_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    by_name = asked(capsys, "diff", "osm", "sidecar", code=3)
    assert by_name == asked(capsys, "diff", "sheet:osm", "sheet:sidecar", code=3)
    assert by_name["changes"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("explain sideways", "'sideways' is not one of"),
        ("explain inbound --uid 3", "--uid says nothing of an inbound packet"),
        ("explain outbound --in-interface x", "--in-interface says nothing of an outbound"),
        ("explain outbound --to nobody", "--to: 'nobody' does not appear to be"),
        ("explain outbound --to 10.0.0.1:0", "--to: port 0 is not within"),
        ("explain outbound --to 10.0.0.1 --from fd00::1", "are of two families"),
        ("explain outbound --state lost", "'LOST' is no state".replace("LOST", "lost")),
        ("explain outbound --mark x", "--mark: 'x' is no mark"),
        ("explain outbound --live --file x", "--live and --file name two rulesets"),
        ("explain outbound --file /no/such", "/no/such: cannot be read"),
        ("explain outbound --file /etc/hostname", "/etc/hostname: "),
        ("prove --property nonsense", "'nonsense' is not one of"),
        ("diff config nowhere", "'nowhere' is nothing to compare"),
        ("diff istoi sidecar", "'istoi' is nothing to compare"),
        ("diff config sheet:none", "none"),
    ],
)
def test_nonsense_is_refused(argv: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv.split()) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert says in lines[0]
    assert len(lines) == 2


def test_prove_tells_every_property(capsys: pytest.CaptureFixture[str]) -> None:
    facts = asked(capsys, "prove")
    assert facts["proven"]
    assert all(one["holds"] and one["says"] for one in facts["properties"])
    assert run(["prove"]) == 0
    shown = capsys.readouterr().out
    assert all(one["id"] in shown for one in facts["properties"])


def test_prove_prints_a_packet_for_what_does_not_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["prove", "--sheet", "istio", "--proxy-uid", "3,4", "--property", "ids-alike"]
    facts = asked(capsys, *argv, code=3)
    (one,) = facts["properties"]
    assert one["holds"] is False
    assert one["violations"][0]["packet"]["uid"] == 4
    assert one["violations"][0]["path"]
    assert run(argv) == 3
    assert "uid 4 is treated otherwise than uid 3" in capsys.readouterr().out


def test_diff_has_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "config", "sheet:sidecar"]) == 0
    assert capsys.readouterr().out == "no traffic fares otherwise\n"
    file = tmp_path / "new.toml"
    file.write_text("exclude_inbound_ports = [9000]\n")
    assert run(["diff", "config", f"config:{file}", "--ip-families", "ipv4"]) == 3
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "inbound over IPv4 tcp port 9000: redirect to 15006 → direct"
    facts = asked(capsys, "diff", "config", f"config:{file}", code=3)
    assert facts["changes"][0]["example"]["destination_port"] == 9000


def test_a_dump_is_compared_with_a_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for family in ("ip", "ip6"):
        assert run(["render", "--backend", "iptables", "--family", family,
                    "--ip-families", "dual"]) == 0  # fmt: skip
        path = tmp_path / family
        path.write_text(capsys.readouterr().out)
        texts.append(str(path))
    dual = ["--ip-families", "dual"]
    assert run(["diff", f"file:{','.join(texts)}", "config", *dual]) == 0
    assert run(["diff", f"file:{','.join(texts)}", "config", "--outbound-port", "1", *dual]) == 3


@pytest.mark.parametrize(
    ("form", "begins"),
    [("html", "<!DOCTYPE html>"), ("svg", "<svg"), ("mermaid", "---"), ("dot", "digraph")],
)
def test_pictures(form: str, begins: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["graph", "--format", form, "--packet", "inbound", "--to-port", "8080"]
    assert run(argv) == 0
    text = capsys.readouterr().out
    assert begins.lower() in text[:200].lower()
    assert "inbound ports that are captured" in text
    facts = asked(capsys, *argv)
    assert facts["text"].rstrip("\n") == text.rstrip("\n")
