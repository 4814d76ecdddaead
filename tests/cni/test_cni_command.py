"""``interceptor cni``: what it says, its options, and the agent as a process."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from interceptor import node
from interceptor.cli.main import run
from interceptor.cni.netconf import PluginConf
from tests.lab import loader, network_files, stand_in
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Host:
    """A node below a directory."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.net = root, root / "etc/cni/net.d"
        self.net.mkdir(parents=True)
        self.file = self.net / "10-calico.conflist"
        self.file.write_bytes(network_files.CALICO)
        self._capsys = capsys

    def cni(self, *argv: str) -> tuple[int, str, str]:
        code = run(["cni", *argv, "--host-root", str(self.root)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def entry(self) -> object:
        return loader.first(self.net)[1]["plugins"][-1]["interceptor"]


@pytest.fixture
def host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Host:
    monkeypatch.setitem(sys.modules, "interceptor.node.bundle", stand_in)
    monkeypatch.setitem(vars(node), "bundle", stand_in)
    return Host(tmp_path, capsys)


def test_install_status_uninstall(host: Host) -> None:
    code, out, _ = host.cni("status", "--listen", "off")
    assert (code, out) == (3, "absent: nothing of ours on this node\n")
    path = "/etc/cni/net.d/10-calico.conflist"
    for said in ("installed", "already so"):
        code, out, err = host.cni("install")
        assert (code, out) == (0, f"{said}: interceptor-cni is called last in {path}\n")
        assert err == ""
    code, out, _ = host.cni("status", "--listen", "off")
    assert (code, out) == (
        0,
        "in order: interceptor-cni 0 is plugin 4 of 4 in 10-calico.conflist\n",
    )
    assert (host.root / "opt/cni/bin/interceptor-cni").exists()
    for said in ("removed: interceptor-cni", "nothing of ours on this node"):
        code, out, _ = host.cni("uninstall")
        assert (code, out) == (0, f"{said}\n")
    assert host.file.read_bytes() == network_files.CALICO


def test_the_entry_says_what_was_asked_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = host.root / "settings.yaml"
    settings.write_text("exclude_inbound_ports: [8080, 9000-9100]\ncapture_dns: all\n")
    flags = (
        *("--settings", str(settings), "--log-file", "/var/log/x.log", "--log-max-bytes", "1000"),
        *("--selector", "interceptor.dev/inject=true", "--selector", "a,!b,c!=d"),
        *("--state-dir", "/run/x", "--exclude-namespace", "kube-system"),
    )
    assert host.cni("install", *flags)[0] == 0
    assert host.entry() == {
        "settings": {"capture_dns": "all", "exclude_inbound_ports": "8080,9000-9100"},
        "selector": ["interceptor.dev/inject=true", "a,!b,c!=d"],
        "exclude_namespaces": ["kube-system"],
        "state_dir": "/run/x",
        "log_file": "/var/log/x.log",
        "log_max_bytes": 1000,
    }
    # The plugin refuses keys it does not know.
    assert msgspec.convert(host.entry(), PluginConf).log_max_bytes == 1000
    assert host.cni("status", *flags)[0] == 0
    code, out, _ = host.cni("status", "--selector", "*", "--output", "json", "--listen", "off")
    assert code == 3
    assert json.loads(out)["findings"] == ["10-calico.conflist: the entry is not as wanted"]
    monkeypatch.setenv("INTERCEPTOR_CNI_SELECTOR", "* a=b")
    monkeypatch.setenv("INTERCEPTOR_CNI_FAIL_CLOSED", "true")
    # As Kubernetes sets it for a Service of that name.
    monkeypatch.setenv("INTERCEPTOR_CNI_SERVICE_HOST", "10.0.0.1")
    assert host.cni("install")[0] == 0
    assert host.entry() == {"selector": ["*", "a=b"], "ready_file": "/run/interceptor/ready"}
    assert host.cni("status")[0] == 0
    assert host.cni("uninstall")[0] == 0
    assert not (host.root / "run/interceptor/ready").exists()


def test_a_kubeconfig_goes_where_the_node_sees_it_and_goes_with_the_entry(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = host.root / "account"
    account.mkdir()
    for name in ("token", "ca.crt"):
        (account / name).write_text(name)
    path = "/etc/cni/net.d/interceptor-kubeconfig"
    flags = ("install", "--kubeconfig-file", path, "--lookup-timeout", "2.5")
    code, _, err = host.cni(*flags, "--service-account-dir", str(account))
    assert code == 4
    assert "KUBERNETES_SERVICE_HOST" in err
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert host.cni(*flags, "--service-account-dir", str(host.root / "none"))[0] == 4
    assert host.file.read_bytes() == network_files.CALICO, (
        "nothing calls a plugin that cannot look up"
    )
    assert host.cni(*flags, "--service-account-dir", str(account))[0] == 0
    assert host.entry() == {"lookup": {"kubeconfig": path, "timeout": 2.5}}
    assert msgspec.convert(host.entry(), PluginConf).lookup
    config = json.loads((host.net / "interceptor-kubeconfig").read_bytes())
    [cluster] = config["clusters"]
    assert cluster["cluster"]["server"] == "https://10.96.0.1:443"
    assert cluster["cluster"]["certificate-authority"] == "interceptor-kubeconfig.crt"
    assert host.cni("uninstall")[0] == 0
    assert os.listdir(host.net) == ["10-calico.conflist"]


@pytest.mark.parametrize(
    ("argv", "code", "what"),
    [
        (("install", "--conf-dir", "net.d"), 2, "whole path"),
        (("install", "--selector", "a b"), 2, "'a b' is no term"),
        (("install", "--selector", "a,"), 2, "'' is no term"),
        (("install", "--lookup-always"), 2, "--kubeconfig-file"),
        (("install", "--exclude-namespace", "A_b"), 2, "no name of a namespace"),
        (("install", "--listen", "here"), 2, "no address and port"),
        (("install", "--lookup-timeout", "5"), 2, "--kubeconfig-file"),
        (("install", "--log-max-bytes", "0"), 2, "--log-max-bytes"),
        (("install", "--settings", "/nowhere"), 2, "cannot be read"),
        (("install", "--conf-dir", "/etc/none"), 4, "no network configuration"),
        (("install", "--bin-dir", "/etc/cni/net.d/10-calico.conflist"), 4, "cannot be changed"),
        (("status", "--no-such"), 2, "--no-such"),
        (("pods-of",), 2, "pods-of"),
    ],
)
def test_what_makes_no_sense_is_refused(
    host: Host, argv: tuple[str, ...], code: int, what: str
) -> None:
    done = host.cni(*argv)
    assert done[0] == code
    assert what in done[2]
    assert re.fullmatch(r"error: .+\nhint: .+\n", done[2])
    assert host.file.read_bytes() == network_files.CALICO


@pytest.mark.parametrize(
    "line", ["outbound_port: none", "no_such: 1", "dry_run: yes", "proxy_uid: envoy"]
)
def test_wrong_settings_are_refused_here_and_not_in_every_pod(host: Host, line: str) -> None:
    (host.root / "settings.yaml").write_text(line)
    code, _, err = host.cni("install", "--settings", str(host.root / "settings.yaml"))
    assert code == 2
    assert line.partition(":")[0] in err
    assert host.file.read_bytes() == network_files.CALICO


def test_an_unknown_variable_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERCEPTOR_CNI_BIN_DIRS", "/x")
    code, _, err = host.cni("install")
    assert code == 2
    assert "did you mean INTERCEPTOR_CNI_BIN_DIR?" in err
    assert run(["render"]) == 0, "it is no business of the other commands"


def test_status_finds_what_is_wrong(host: Host) -> None:
    host.cni("install", "--fail-closed")
    (host.root / "run/interceptor/ready").unlink()
    (host.root / "opt/cni/bin/interceptor-cni").write_bytes(b"")
    host.file.write_bytes(network_files.FLANNEL)
    code, out, _ = host.cni("status", "--listen", "off")
    assert code == 3
    assert out.splitlines() == [
        "not in order:",
        "  the plugin's program is damaged",
        "  00-interceptor.conflist is not a copy of 10-calico.conflist as it is now",
        "  /run/interceptor/ready is not there: meshed pods wait for the agent",
    ]
    host.cni("uninstall")
    host.cni("install")
    (host.net / "00-first.conflist").write_bytes(network_files.CILIUM)
    (host.net / "00-broken.conflist").write_bytes(b"{")
    code, out, err = host.cni("status", "--listen", "off")
    assert code == 3
    assert "00-first.conflist, which comes first, does not name interceptor-cni" in out
    assert "00-broken.conflist is no network configuration" in err


@pytest.mark.root
def test_a_directory_that_cannot_be_written_is_named(host: Host) -> None:
    script = f'mount --bind {host.net} {host.net} && mount -o remount,bind,ro {host.net} && "$@"'
    argv = ["unshare", "--mount", "/bin/sh", "-c", script, "sh", sys.executable]
    argv += ["-m", "tests.lab.stand_in", "cni", "install", "--host-root", str(host.root)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "10-calico.conflist" in done.stderr
    assert "Read-only file system" in done.stderr
    assert os.listdir(host.net) == ["10-calico.conflist"]


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.fixture
def started(host: Host) -> Iterator[tuple[subprocess.Popen[str], int]]:
    argv = ("--watch", "--listen", "127.0.0.1:0", "--interval", "1", "--output", "json")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.lab.stand_in", "cni", "install", *argv),
            *("--host-root", str(host.root)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    line = process.stderr.readline()
    yield process, int(line.rsplit(" ", 1)[1])
    process.kill()
    process.communicate()


def test_the_agent_answers_and_ends_in_order(
    host: Host, started: tuple[subprocess.Popen[str], int]
) -> None:
    process, port = started
    assert becomes(lambda: _get(port, "/healthz") == (200, "installed and in order\n"))
    assert _get(port, "/readyz")[0] == _get(port, "/livez")[0] == 200
    assert _get(port, "/")[0] == 404
    metrics = _get(port, "/metrics")[1]
    for line in ("interceptor_cni_installed 1.0", "interceptor_cni_attachments 0.0"):
        assert line in metrics.splitlines()
    assert 'interceptor_cni_info{version="' in metrics
    code, out, _ = host.cni("status", "--listen", f"127.0.0.1:{port}", "--output", "json")
    assert code == 0
    assert json.loads(out)["agent"] == {"status": 200, "text": "installed and in order"}
    host.file.write_bytes(b"{")
    assert becomes(lambda: _get(port, "/healthz")[0] == 503)
    assert "no network configuration" in _get(port, "/readyz")[1]
    code, out, _ = host.cni("status", "--listen", f"127.0.0.1:{port}")
    assert code == 3
    assert "the agent says" in out
    host.file.write_bytes(network_files.CALICO)
    assert becomes(lambda: _get(port, "/healthz")[0] == 200)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert json.loads(out) == {"insertions": 1, "removed": False}
    assert loader.types(host.net)[-1] == "interceptor-cni"


def test_an_agent_can_clean_up_when_it_ends(host: Host) -> None:
    argv = ("--watch", "--listen", "off", "--remove-on-exit", "--host-root", str(host.root))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.stand_in", "cni", "install", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert becomes(lambda: b"interceptor" in host.file.read_bytes())
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[0] == "ended; uninstalled\n"
    finally:
        process.kill()
        process.communicate()
    assert host.file.read_bytes() == network_files.CALICO
    assert os.listdir(host.root / "opt/cni/bin") == []


def test_an_agent_without_its_packages_says_how_to_get_them(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    code, _, err = host.cni("install", "--watch")
    assert code == 4
    assert "watchfiles" in err
    assert "pip install 'interceptor[node]'" in err


def test_a_port_that_is_taken_is_named(
    host: Host, started: tuple[subprocess.Popen[str], int]
) -> None:
    code, _, err = host.cni("install", "--watch", "--listen", f"127.0.0.1:{started[1]}")
    assert code == 4
    assert "Address already in use" in err
