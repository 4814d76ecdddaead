"""Which kubeconfigs the look-up takes, and what it says of the others."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from interceptor.cni.lookup import look_up
from interceptor.cni.netconf import Lookup
from tests.lab.api_server import fake_api_server, kubeconfig, pod
from tests.lab.asking import configure, refusal

if TYPE_CHECKING:
    from pathlib import Path


def test_a_token_in_the_kubeconfig_will_do(lookup: Lookup, tmp_path: Path) -> None:
    with fake_api_server(pod()) as server:
        written = {"token": "written"}
        kubeconfig(tmp_path / "kubeconfig", server.url, written)
        look_up(lookup, "shop", "web")
        kubeconfig(tmp_path / "kubeconfig", server.url, written | {"tokenFile": "token"})
        look_up(lookup, "shop", "web")
    assert [asked.token for asked in server.asked] == ["Bearer written", "Bearer first"]


def test_certificates_in_the_kubeconfig_are_used_and_not_left_in_files(
    lookup: Lookup, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("tempfile.mkstemp")
    inline = b64encode(certificate.read_bytes()).decode()
    before = len(os.listdir("/proc/self/fd"))
    with fake_api_server(pod(), certificate=certificate) as server:
        user = {"client-certificate-data": inline, "client-key-data": inline}
        content = kubeconfig(tmp_path / "kubeconfig", server.url, user)
        content["clusters"][0]["cluster"]["certificate-authority-data"] = inline
        (tmp_path / "kubeconfig").write_text(json.dumps(content))
        look_up(lookup, "shop", "web")
    assert server.asked == [("/api/v1/namespaces/shop/pods/web", "", True)]
    assert len(os.listdir("/proc/self/fd")) == before
    content["clusters"][0]["cluster"]["certificate-authority-data"] = "A"
    (tmp_path / "kubeconfig").write_text(json.dumps(content))
    assert "cannot be used: " in refusal(lookup).message
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "kubeconfig: No such file or directory"),
        ("", "it is not laid out as one"),
        ("{", "while parsing"),
        ("[1, 2]", "it is not laid out as one"),
        ('{"users": [{"name": "plugin", "user": {"exec": {}}}]}', "it has exec"),
        ('{"users": [], "clusters": [], "contexts": []}', "current-context"),
    ],
    ids=["absent", "empty", "no YAML", "a list", "exec", "no context"],
)
def test_a_useless_kubeconfig_is_named(lookup: Lookup, text: str | None, reason: str) -> None:
    if text is not None:
        with open(lookup.kubeconfig, "w", encoding="utf-8") as file:
            file.write(text)
    message = refusal(lookup).message
    assert message.startswith(f"kubeconfig {lookup.kubeconfig} cannot be used: ")
    assert reason in message


def test_files_a_kubeconfig_names_have_to_be_there(lookup: Lookup, tmp_path: Path) -> None:
    content = kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:1", {"tokenFile": "gone"})
    assert f"{tmp_path}/gone: No such file" in refusal(lookup).message
    (tmp_path / "gone").write_text("token")
    content["users"][0]["user"] = {}
    content["clusters"][0]["cluster"]["certificate-authority"] = "ca"
    (tmp_path / "kubeconfig").write_text(json.dumps(content))
    assert f"File does not exist: {tmp_path}/ca" in refusal(lookup).message


def test_an_authority_that_is_no_certificate(
    lookup: Lookup, certificate: Path, tmp_path: Path
) -> None:
    (tmp_path / "ca").write_text("no certificate")
    with fake_api_server(pod(), certificate=certificate) as server:
        configure(lookup, server, tmp_path / "ca")
        assert "NO_CERTIFICATE" in refusal(Lookup(lookup.kubeconfig, timeout=0.3)).message


def test_a_kubeconfig_needs_a_server(lookup: Lookup, tmp_path: Path) -> None:
    content = kubeconfig(tmp_path / "kubeconfig", "", {"tokenFile": "token"})
    assert "cannot be used" in refusal(lookup).message
    del content["clusters"][0]["cluster"]["server"]
    (tmp_path / "kubeconfig").write_text(json.dumps(content))
    assert "cannot be used" in refusal(lookup).message
