"""The init container: which privileges it takes, and what it says if it has others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.images import INIT, name

if TYPE_CHECKING:
    from tests.lab.paths import Done
    from tests.lab.podman import Podman

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # whoever is first builds

_CONFINED = (
    *("run", "--rm", "--network", "plain", "--read-only", "--read-only-tmpfs=false"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
)
_NFTABLES = ("install", "--backend", "nftables", "--output", "json")
_LEGACY = ("install", "--backend", "iptables", "--iptables-variant", "legacy", "--output", "json")
_IPTABLES = ("install", "--backend", "iptables", "--iptables-variant", "nft", "--output", "json")
_SOMEBODY = "65532:65532"


def _run(runtime: Podman, capabilities: str, *arguments: str, user: str = "0:0") -> Done:
    granted = ("--cap-add", capabilities) if capabilities else ()
    return runtime(*_CONFINED, *granted, "--user", user, name(INIT), *arguments)


@pytest.mark.parametrize(
    ("capabilities", "command"),
    [("NET_ADMIN", _NFTABLES), ("NET_ADMIN", _IPTABLES), ("NET_ADMIN,NET_RAW", _LEGACY)],
    ids=["nftables", "iptables-nft", "iptables-legacy"],
)
def test_root_needs_no_more(runtime: Podman, capabilities: str, command: tuple[str, ...]) -> None:
    done = _run(runtime, capabilities, *command)
    assert done.code == 0, done
    assert done.json["changed"]


@pytest.mark.parametrize("command", [_NFTABLES, _LEGACY], ids=["nftables", "iptables-legacy"])
def test_another_user_needs_to_read_what_is_roots_too(
    runtime: Podman, command: tuple[str, ...]
) -> None:
    """Whether there are rules of iptables-legacy, the kernel tells root alone."""
    capabilities = "NET_ADMIN,NET_RAW"
    done = _run(runtime, capabilities, *command, user=_SOMEBODY)
    assert (done.code, "ip_tables_names" in done.stderr) == (4, True)
    done = _run(runtime, f"{capabilities},DAC_READ_SEARCH", *command, user=_SOMEBODY)
    assert done.code == 0, done


@pytest.mark.parametrize(
    ("capabilities", "command", "code", "says"),
    [
        ("", _NFTABLES, 4, ("CAP_NET_ADMIN", "give the container the NET_ADMIN")),
        ("NET_ADMIN", _LEGACY, 4, ("NET_RAW",)),
        ("NET_ADMIN", ("install", "--exclude-inbound-ports", "80x"), 2, ("'80x' is no port",)),
        ("NET_ADMIN", ("install", "--sheet", "sidecra"), 2, ("sidecra", "sidecar")),
    ],
    ids=["no privileges", "one too few", "no port", "no sheet"],
)
def test_two_lines_say_what_is_wrong(
    runtime: Podman, capabilities: str, command: tuple[str, ...], code: int, says: tuple[str, ...]
) -> None:
    done = _run(runtime, capabilities, *(word for word in command if word not in _JSON))
    assert (done.code, done.stdout) == (code, "")
    what, how = done.stderr.splitlines()
    assert what.startswith("error: ")
    assert how.startswith("hint: ")
    assert all(word in done.stderr for word in says)


_JSON = ("--output", "json")


def test_what_istio_init_is_told_it_understands(runtime: Podman) -> None:
    """These are the words of Istio's injection template."""
    words = (
        "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020"
    )
    told = (*words.split(" "), "--log_output_level=default:info")
    done = _run(runtime, "NET_ADMIN,NET_RAW", *told)
    assert done.code == 0, done
    assert "istio on iptables-nft" in done.stdout


def test_it_is_its_command_alone(runtime: Podman) -> None:
    """With no words it installs, with a settings' environment as with flags."""
    environment = ("--env", "INTERCEPTOR_OUTPUT=json", "--env", "INTERCEPTOR_PROXY_UID=1500")
    done = runtime(*_CONFINED, "--cap-add", "NET_ADMIN", *environment, name(INIT))
    assert done.code == 0, done
    assert "1500" in json.dumps(done.json)


def test_every_command_is_in_it(runtime: Podman) -> None:
    """Nothing of Python that was left out is missed."""
    help_text = _run(runtime, "", "--help").stdout
    commands = help_text.partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in commands if line.startswith("  ") and line[2] != " "]
    assert {"install", "verify", "trace", "istio-iptables"} <= set(names)
    whole = "NET_ADMIN,NET_RAW,SYS_ADMIN"
    for words in (
        ["prove"],
        ["render"],
        ["graph"],
        ["explain", "inbound", "--to-port", "8080"],
        ["diff", "sheet=istio", "sheet=sidecar"],
        ["sheets"],
        ["config", "show", "--origin"],
        ["check"],
        ["verify"],
        ["install", "--verify"],
        ["install", "--mode", "tproxy", "--capture-dns", "all"],
    ):
        done = _run(runtime, whole, *words)
        assert "fault of this program" not in done.stderr, (words, done)
        if words[0] != "diff":
            assert done.code in (0, 3, 126), (words, done)
