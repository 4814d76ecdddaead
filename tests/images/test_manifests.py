"""The manifests are what Kubernetes' own schemas allow, and ask for no more than they need."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import yaml
from kubernetes import client
from pydantic import BaseModel

from tests.lab.images import CNI, INIT, ROOT, name

_MANIFESTS = ROOT / "images/manifests"
_KINDS = {
    "ClusterRole": client.V1ClusterRole,
    "ClusterRoleBinding": client.V1ClusterRoleBinding,
    "DaemonSet": client.V1DaemonSet,
    "Namespace": client.V1Namespace,
    "Pod": client.V1Pod,
    "ServiceAccount": client.V1ServiceAccount,
}
"""The client's models are generated from the API server's OpenAPI schema."""


def _documents() -> dict[str, dict[str, Any]]:
    found = {}
    for file in sorted(_MANIFESTS.rglob("*.yaml")):
        if file.name != "kustomization.yaml":
            for one in yaml.safe_load_all(file.read_text()):
                found[f"{file.relative_to(_MANIFESTS)}: {one['kind']}"] = one
    return found


_DOCUMENTS = _documents()


def _model(annotation: Any) -> type[BaseModel] | None:
    """Give the model in a type, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model, get_args(annotation))), None)


def unknown(said: Any, model: type[BaseModel], path: str = "") -> list[str]:
    """Give the paths of keys that a model has not: a server would drop them."""
    if isinstance(said, list):
        return [one for n, item in enumerate(said) for one in unknown(item, model, f"{path}[{n}]")]
    if not isinstance(said, dict):
        return []
    fields = {field.serialization_alias or key: field for key, field in model.model_fields.items()}
    found = []
    for key, value in said.items():
        if key not in fields:
            found.append(f"{path}.{key}")
        elif inner := _model(fields[key].annotation):
            found += unknown(value, inner, f"{path}.{key}")
    return found


@pytest.mark.parametrize("said", _DOCUMENTS.values(), ids=list(_DOCUMENTS))
def test_it_is_what_the_schema_allows(said: dict[str, Any]) -> None:
    model = _KINDS[said["kind"]]
    assert unknown(said, model) == []
    model.model_validate(said)


def test_a_misspelt_key_would_be_found() -> None:
    said = {"kind": "Pod", "spec": {"containers": [{"name": "a", "securityContxt": {}}]}}
    assert unknown(said, client.V1Pod) == [".spec.containers[0].securityContxt"]


def test_a_wrong_type_would_be_found() -> None:
    with pytest.raises(ValueError, match="containers"):
        client.V1Pod.model_validate({"spec": {"containers": "all"}})


def test_images_are_called_what_they_are_built_as() -> None:
    [init] = _DOCUMENTS["init-pod.yaml: Pod"]["spec"]["initContainers"]
    [agent] = _DOCUMENTS["cni/daemonset.yaml: DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert (init["image"], agent["image"]) == (name(INIT), name(CNI))


def test_only_a_look_up_may_read_pods_and_nothing_may_do_more() -> None:
    rules = [one["rules"] for one in _DOCUMENTS.values() if one["kind"] == "ClusterRole"]
    assert rules == [[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]]
    without = yaml.safe_load((_MANIFESTS / "cni/kustomization.yaml").read_text())
    assert "rbac.yaml" not in str(without)
    spec = _DOCUMENTS["cni/daemonset.yaml: DaemonSet"]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("directory", ["cni", "cni-lookup"])
def test_a_kustomization_names_what_there_is(directory: str) -> None:
    home = _MANIFESTS / directory
    said = yaml.safe_load((home / "kustomization.yaml").read_text())
    listed = {(home / one).resolve() for one in said["resources"]}
    assert all(one.exists() for one in listed)
    assert {f for f in home.glob("*.yaml") if f.name != "kustomization.yaml"} <= listed
    for patch in said.get("patches", ()):
        [target] = [one for one in _DOCUMENTS.values() if one["kind"] == patch["target"]["kind"]]
        assert target["metadata"]["name"] == patch["target"]["name"]
        for step in yaml.safe_load(patch["patch"]):
            at: Any = target
            *way, last = step["path"].strip("/").split("/")
            for key in way:
                at = at[int(key)] if isinstance(at, list) else at[key]
            assert last == "-" if isinstance(at, list) else last in at
