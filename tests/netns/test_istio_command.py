"""``interceptor istio-iptables`` as a whole: what Istio's injector and CNI ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import Done, dump, interceptor
from tests.netns.test_istio_probe import AS_PROXY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

INJECTOR = ("-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "*", "-d", "15090,15021")
VALIDATION = ("--run-validation", "--skip-rule-apply", "--probe-timeout", "1s")
CHOICES = {
    "iptables-nft": ("--force-iptables-binary", "nft"),
    "iptables-legacy": ("--force-iptables-binary", "legacy"),
    "nft": ("--native-nftables",),
}
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all")


@pytest.fixture
def pod() -> Iterator[Namespace]:
    """A namespace with an address of each family and nothing installed."""
    with namespaces("pod") as (made,):
        made.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer")
        made.run("ip", "link", "set", "eth0", "up")
        made.address("eth0", "10.1.0.1/24", "fd01::1/64")
        yield made


def istio(
    pod: Namespace,
    *argv: str,
    prefix: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> Done:
    """Run the command within the pod, as a container of it does."""
    with pod:
        return interceptor("istio-iptables", *argv, prefix=prefix, environment=environment)


@pytest.mark.parametrize("choice", CHOICES)
def test_one_container_installs_and_another_validates(pod: Namespace, choice: str) -> None:
    before = istio(pod, *INJECTOR, *VALIDATION, prefix=AS_PROXY)
    assert before.code == 126
    assert before.stdout == ""
    assert before.stderr.splitlines()[0] == (
        "error: connections are not redirected: "
        "IPv4: user 1337 connects to 127.0.0.6:15002, and no rule redirects it"
    )
    assert before.stderr.splitlines()[1].startswith("hint: ")
    assert len(before.stderr.splitlines()) == 2
    installed = istio(pod, *INJECTOR, *CHOICES[choice])
    assert installed.code == 0, installed
    after = istio(pod, *INJECTOR, *VALIDATION, prefix=AS_PROXY)
    assert after.code == 0, after
    assert after.stdout == "connections are redirected, over IPv4\n"
    assert after.stderr == ""


def test_both_families_are_validated_where_both_are_on(pod: Namespace) -> None:
    dual = (*INJECTOR, "--dual-stack")
    assert istio(pod, *INJECTOR, "--native-nftables").code == 0
    done = istio(pod, *dual, *VALIDATION, prefix=AS_PROXY)
    assert done.code == 126
    assert "IPv6: " in done.stderr
    assert "IPv4: " not in done.stderr


def test_root_can_do_both_at_once_and_tell_as_json(pod: Namespace) -> None:
    argv = (*INJECTOR, "--native-nftables", "--run-validation", "--output", "json")
    done = istio(pod, *argv)
    assert done.code == 0, done
    assert done.json["changed"] is True
    assert done.json["redirected"] == ["ip"]
    again = istio(pod, *argv)
    assert again.json["changed"] is False
    anew = istio(pod, *argv, "--force-apply")
    assert anew.json["changed"] is True


def test_of_several_users_the_first_is_tried(pod: Namespace) -> None:
    """Istio's rules redirect no other on its way back to its own pod."""
    argv = (*INJECTOR, "-u", "2000,1337", "--native-nftables", "--run-validation")
    done = istio(pod, *argv, "--probe-timeout", "1s")
    assert done.code == 0, done


def test_a_namespace_is_entered_and_decides() -> None:
    with namespaces("pod") as (pod,):
        pod.address("lo", "fd01::1/64")
        argv = ("istio-iptables", *INJECTOR, "--output", "json", "--network-namespace", pod.path)
        done = interceptor(*argv)
        assert done.code == 0, done
        assert done.json["families"] == ["ip", "ip6"]
        assert "ISTIO_IN_REDIRECT" in dump(pod)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_clean_up_needs_no_flags_and_no_address(choice: str) -> None:
    with namespaces("pod") as (pod,):
        pod.address("lo", "10.1.0.1/32")
        argv = (*INJECTOR, "-m", "TPROXY", "-c", "eth5", *CHOICES[choice])
        assert istio(pod, *argv).code == 0
        assert "istio" in dump(pod).lower()
        pod.run("ip", "addr", "del", "10.1.0.1/32", "dev", "lo")
        done = istio(pod, "--cleanup-only", "-b", "80")
        assert done.code == 0, done
        assert "istio" not in dump(pod).lower()
        assert "lookup 133" not in pod.run("ip", "rule")
        assert istio(pod, "--cleanup-only").stdout.startswith("nothing of ours")


@pytest.mark.parametrize("choice", ["nft", "iptables-nft"])
def test_a_dry_run_prints_the_rules_and_touches_nothing(
    pod: Namespace, tmp_path: Path, choice: str
) -> None:
    before = dump(pod)
    done = istio(pod, *INJECTOR, *CHOICES[choice], "-n", "--dual-stack", prefix=NOBODY)
    assert done.code == 0, done
    assert "istio" in done.stdout.lower()
    assert "comment" not in done.stdout, "Istio's rules have none"
    assert ("# ip6tables-restore\n" in done.stdout) is (choice != "nft")
    file = tmp_path / "rules"
    environment = {"DRY_RUN": "true", "DRY_RUN_FILE_PATH": str(file)}
    argv = (*INJECTOR, *CHOICES[choice], "--dual-stack", "--run-validation")
    assert istio(pod, *argv, environment=environment).stdout == done.stdout
    assert file.read_text() == done.stdout
    assert istio(pod, "-n", "--cleanup-only", prefix=NOBODY).code == 0
    assert dump(pod) == before


def test_what_a_dry_run_prints_loads(pod: Namespace) -> None:
    text = istio(pod, *INJECTOR, "-n").stdout
    assert text.startswith("# iptables-restore\n")
    pod.run("iptables-nft-restore", stdin=text)
    text = istio(pod, *INJECTOR, "-n", "--native-nftables").stdout
    pod.run("nft", "-f", "-", stdin=text)


def test_a_file_that_cannot_be_written_is_told(pod: Namespace) -> None:
    done = istio(pod, "-n", environment={"DRY_RUN_FILE_PATH": "/no/such/file"})
    assert done.code == 1
    assert done.stderr.startswith("error: DRY_RUN_FILE_PATH: /no/such/file cannot be written")


def test_nothing_is_done_where_nothing_is_asked_for(pod: Namespace) -> None:
    before = dump(pod)
    done = istio(pod, *INJECTOR, "--skip-rule-apply", prefix=NOBODY)
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert dump(pod) == before


def test_mistakes_are_two_lines_and_change_nothing(pod: Namespace) -> None:
    before = dump(pod)
    done = istio(pod, *INJECTOR, environment={"ISTIO_META_DNS_CAPTURE": "yes"})
    assert done.code == 2
    assert done.stderr.splitlines() == [
        "error: ISTIO_META_DNS_CAPTURE: 'yes' is neither true nor false",
        "hint: write true or false",
    ]
    done = istio(pod, "-u", "nobody-of-that-name")
    assert done.code == 2
    assert done.stderr.startswith("error: -u (--proxy-uid): no user named 'nobody-of-that-name'")
    done = istio(pod, "--timeout", "soon")
    assert done.code == 2
    assert done.stderr.startswith("error: --timeout: 'soon' is no number of seconds")
    assert dump(pod) == before


def test_notes_are_talk(pod: Namespace) -> None:
    done = istio(pod, "-n", "-b", "80", "-d", "90")
    assert done.code == 0
    assert done.stderr.startswith("note: -d (--istio-local-exclude-ports) has no effect")
    assert "note" not in done.stdout


def test_help_says_all(pod: Namespace) -> None:
    done = istio(pod, "-p", "x", "--help")
    assert done.code == 0
    assert "--istio-inbound-interception-mode REDIRECT|TPROXY" in done.stdout
    assert "ISTIO_META_DNS_CAPTURE" in done.stdout
