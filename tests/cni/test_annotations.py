"""What annotations mean: each one, which is stronger, and what a wrong one says."""

from __future__ import annotations

import pytest

from interceptor.cni.annotations import layers_of
from interceptor.cni.meshing import LeftAlone, decide
from interceptor.cni.netconf import PluginConf
from interceptor.cni.pod import Pod
from interceptor.cni.pod_policy import meshed
from interceptor.errors import ConfigError
from interceptor.operations.policy import Policy
from interceptor.settings import SETTINGS, Scope, show

TRAFFIC = "traffic.sidecar.istio.io/"
MESHED = {"interceptor.dev/inject": "true"}


def setting(annotations: dict[str, str], key: str, node: dict[str, object] | None = None) -> str:
    """Give one setting of a pod as text."""
    return show(getattr(meshed(node or {}, Pod(annotations=annotations)).config, key))


@pytest.mark.parametrize(
    ("annotation", "value", "key", "means"),
    [
        (f"{TRAFFIC}includeOutboundIPRanges", "10.0.0.0/8, fd00::/8", "include_outbound_cidrs",
         "10.0.0.0/8,fd00::/8"),
        (f"{TRAFFIC}includeOutboundIPRanges", "*", "include_outbound_cidrs", "*"),
        (f"{TRAFFIC}includeOutboundIPRanges", "", "include_outbound_cidrs", ""),
        (f"{TRAFFIC}excludeOutboundIPRanges", "192.0.2.1/32", "exclude_outbound_cidrs",
         "192.0.2.1/32"),
        (f"{TRAFFIC}includeInboundPorts", "80,8080", "include_inbound_ports", "80,8080"),
        (f"{TRAFFIC}excludeInboundPorts", "9000", "exclude_inbound_ports", "9000"),
        (f"{TRAFFIC}includeOutboundPorts", "443", "include_outbound_ports", "443"),
        (f"{TRAFFIC}excludeOutboundPorts", "3306,6379", "exclude_outbound_ports", "3306,6379"),
        (f"{TRAFFIC}excludeInterfaces", "eth1", "exclude_interfaces", "eth1"),
        (f"{TRAFFIC}kubevirtInterfaces", "net1", "virtual_interfaces", "net1"),
        ("istio.io/reroute-virtual-interfaces", "net1,net2", "virtual_interfaces", "net1,net2"),
        ("sidecar.istio.io/interceptionMode", "REDIRECT", "mode", "redirect"),
        ("sidecar.istio.io/interceptionMode", "TPROXY", "mode", "tproxy"),
        ("interceptor.dev/config", '{"inbound_port": 16006}', "inbound_port", "16006"),
        ("interceptor.dev/config", '{"proxy_uid": [1, 2]}', "proxy_uid", "1,2"),
    ],
)  # fmt: skip
def test_each_annotation_is_a_setting(annotation: str, value: str, key: str, means: str) -> None:
    assert setting({annotation: value}, key) == means


SAID = {
    "sheet": "sidecar",
    "mode": "none",
    "capture_dns": "all",
    "drop_invalid": "true",
    "ip_families": "ipv4",
    "backend": "iptables",
    "iptables_variant": "legacy",
    "ebpf_loader": "libbpf",
    "loopback_cidr": "127.0.0.0/8",
    "exempt_mark": "0x539",
    "exclude_interfaces": "eth9",
    "virtual_interfaces": "net1",
    "include_outbound_cidrs": "10.0.0.0/8",
    "exclude_outbound_cidrs": "10.0.0.0/8",
    "exclude_inbound_cidrs": "10.0.0.0/8",
    "options": "vnet=docker0:172.17.0.0/16",
    "include_outbound_owner_groups": "5",
}
"""What a setting takes that does not take the number 4444."""


@pytest.mark.parametrize(
    "key", [s.name for s in SETTINGS.values() if s.scope in (Scope.POLICY, Scope.HOST)]
)
def test_every_setting_of_what_is_captured_has_an_annotation(key: str) -> None:
    value = SAID.get(key, "4444")
    assert setting({SETTINGS[key].annotation: value}, key) == value


@pytest.mark.parametrize(
    "key", [s.name for s in SETTINGS.values() if s.scope not in (Scope.POLICY, Scope.HOST)]
)
def test_no_other_setting_has_one(key: str) -> None:
    with pytest.raises(ConfigError, match="there is no such annotation"):
        meshed({}, Pod(annotations={SETTINGS[key].annotation: "1"}))
    with pytest.raises(ConfigError, match="not for a pod to say"):
        meshed({}, Pod(annotations={"interceptor.dev/config": f'{{"{key}": "1"}}'}))


def test_the_newer_name_of_an_annotation_is_the_stronger() -> None:
    both = {
        "istio.io/reroute-virtual-interfaces": "net2",
        f"{TRAFFIC}kubevirtInterfaces": "net1",
    }
    assert setting(both, "virtual_interfaces") == "net2"
    assert setting(dict(reversed(both.items())), "virtual_interfaces") == "net2"


def test_who_is_stronger() -> None:
    node: dict[str, object] = {"exclude_inbound_ports": "1", "outbound_port": "2"}
    said = {f"{TRAFFIC}excludeInboundPorts": "3"}
    assert setting(said, "exclude_inbound_ports", node) == "3"
    said["interceptor.dev/config"] = '{"exclude_inbound_ports": "4"}'
    assert setting(said, "exclude_inbound_ports", node) == "4"
    said["interceptor.dev/exclude-inbound-ports"] = "5"
    assert setting(dict(reversed(said.items())), "exclude_inbound_ports", node) == "5"
    assert setting(said, "outbound_port", node) == "2"


def test_a_container_of_the_proxy_says_more_than_the_node_and_less_than_the_pod() -> None:
    pod = Pod(
        annotations={"interceptor.dev/proxy-gid": "9"},
        sidecar={"proxy_uid": "8", "proxy_gid": "8"},
    )
    config = meshed({"proxy_uid": "7", "proxy_gid": "7"}, pod).config
    assert (str(config.proxy_uid), str(config.proxy_gid)) == ("8", "9")


def test_with_istios_own_sheet_istio_cnis_defaults_hold() -> None:
    istio: dict[str, object] = {"sheet": "istio"}
    assert setting({}, "exclude_inbound_ports", istio) == "15020,15021,15090"
    assert setting({}, "exclude_outbound_ports", istio) == "15020"
    said = {f"{TRAFFIC}excludeInboundPorts": "80", f"{TRAFFIC}excludeOutboundPorts": "443"}
    assert setting(said, "exclude_inbound_ports", istio) == "80,15020,15021,15090"
    assert setting(said, "exclude_outbound_ports", istio) == "443"
    assert setting(said, "exclude_inbound_ports") == "80"
    asked = {"interceptor.dev/sheet": "istio"}
    assert setting(asked, "exclude_inbound_ports") == "15020,15021,15090"


@pytest.mark.parametrize(
    ("annotations", "says"),
    [
        ({f"{TRAFFIC}excludeInboundPorts": "80,http"},
         f"annotation {TRAFFIC}excludeInboundPorts=\"80,http\": 'http' is no port"),
        ({f"{TRAFFIC}excludeOutboundPorts": "*"},
         f"annotation {TRAFFIC}excludeOutboundPorts=\"*\": '*' excludes everything"),
        ({"sidecar.istio.io/interceptionMode": "NONE"},
         'annotation sidecar.istio.io/interceptionMode="NONE": neither REDIRECT nor TPROXY'),
        ({"interceptor.dev/mode": "tprox"},
         "annotation interceptor.dev/mode=\"tprox\": 'tprox' is none of redirect, tproxy, none"),
        ({"interceptor.dev/exclude-inbound-port": "80"},
         'annotation interceptor.dev/exclude-inbound-port="80": there is no such annotation'),
        ({"interceptor.dev/config": "{"},
         'annotation interceptor.dev/config="{": as JSON: line 1'),
        ({"interceptor.dev/config": '{"mode": "x"}'},
         'annotation interceptor.dev/config="{"mode": "x"}": mode: \'x\' is none of'),
        ({"interceptor.dev/config": '{"mod": "x"}'},
         'annotation interceptor.dev/config="{"mod": "x"}": there is no setting \'mod\''),
        ({"interceptor.dev/config": "mode: x"}, 'annotation interceptor.dev/config="mode: x": as'),
        ({"interceptor.dev/sheet": "/etc/shadow"},
         'annotation interceptor.dev/sheet="/etc/shadow": a pod may name a shipped sheet'),
        ({"interceptor.dev/config": '{"sheet": "./x.toml"}'}, "a pod may name a shipped sheet"),
        ({"interceptor.dev/sheet": "nobodys"}, "there is no sheet 'nobodys'"),
        ({"interceptor.dev/proxy-uid": "envoy"},
         "annotation interceptor.dev/proxy-uid=\"envoy\": 'envoy' is a name"),
        ({"interceptor.dev/proxy-uid": "", "interceptor.dev/proxy-gid": ""},
         "the proxy has no user, group, mark"),
        ({"interceptor.dev/inject": "yep"}, 'annotation interceptor.dev/inject="yep": \'yep\''),
    ],
)  # fmt: skip
def test_a_wrong_one_is_named_with_its_value(annotations: dict[str, str], says: str) -> None:
    with pytest.raises(Exception, match=r"^(?s:.)*$") as caught:
        decide(Pod(annotations=annotations), PluginConf(selector=("*",)))
    assert says in str(caught.value)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        meshed({}, Pod(annotations={"interceptor.dev/mode": "x" * 5000}))
    assert len(str(caught.value).split(": ")[0]) < 300


def test_annotations_of_others_mean_nothing() -> None:
    others = {"kubernetes.io/config.seen": "x", "istio.io/rev": "default", "team": "a"}
    assert [layer.values for layer in layers_of(others, sheet="sidecar")] == [{}, {}]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"inbound_prt": 1}, "the CNI configuration's settings: there is no setting"),
        ({"inbound_port": 0}, "the CNI configuration's settings: inbound_port: "),
        ({"netns": "/x"}, "that is not for a CNI plugin"),
        ({"dry_run": True}, "that is not for a CNI plugin"),
        ({"proxy_uid": "envoy"}, "'envoy' is a name"),
        ({"mode": {"a": 1}}, "a text, a number or a list of those is needed"),
    ],
)
def test_a_wrong_setting_of_the_node_is_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        meshed(settings, Pod())
    assert says in str(caught.value)


def test_numbers_and_switches_of_the_nodes_json_are_read() -> None:
    settings = {"inbound_port": 1, "drop_invalid": True, "timeout": 2.5, "proxy_uid": [3, "4-5"]}
    config = meshed(settings, Pod()).config
    assert (config.inbound_port, config.drop_invalid, config.timeout) == (1, True, 2.5)
    assert str(config.proxy_uid) == "3-5"


ISTIOS = {"sidecar.istio.io/status": "{}"}


@pytest.mark.parametrize(
    ("pod", "plugin", "is_meshed"),
    [
        (Pod(annotations={}), PluginConf(), False),
        (Pod(annotations=MESHED), PluginConf(), True),
        (Pod(annotations=ISTIOS), PluginConf(), True),
        (Pod(annotations={**ISTIOS, "sidecar.istio.io/inject": "false"}), PluginConf(), False),
        (Pod(annotations=ISTIOS, labels={"sidecar.istio.io/inject": "false"}), PluginConf(),
         False),
        (Pod(annotations={**ISTIOS, "sidecar.istio.io/inject": "false"},
             labels={"sidecar.istio.io/inject": "true"}), PluginConf(), True),
        (Pod(annotations={**ISTIOS, "interceptor.dev/inject": "false"}), PluginConf(), False),
        (Pod(annotations={"interceptor.dev/inject": "no"}), PluginConf(selector=("*",)), False),
        (Pod(annotations={}), PluginConf(selector=("*",)), True),
        (Pod(), PluginConf(selector=("*",)), True),
        (Pod("kube-system", annotations=MESHED), PluginConf(exclude_namespaces=("kube-system",)),
         False),
        (Pod("kube-system"), PluginConf(exclude_namespaces=("kube-system",)), False),
        (Pod("shop", annotations=MESHED), PluginConf(exclude_namespaces=("kube-system",)), True),
        (Pod(annotations=MESHED), PluginConf(selector=()), False),
        (Pod(annotations=MESHED, skip="it has istio-init"), PluginConf(), False),
    ],
)  # fmt: skip
def test_which_pods_are_meshed(pod: Pod, plugin: PluginConf, is_meshed: bool) -> None:
    assert isinstance(decide(pod, plugin), Policy if is_meshed else LeftAlone)


def test_what_is_not_known_is_no_reason_to_let_a_pod_through() -> None:
    with pytest.raises(ConfigError, match="passes no pod annotations"):
        decide(Pod("shop", "cart"), PluginConf())
