"""Calls of the CNI plugin, as a runtime makes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

PLUGIN = str(Path(sys.executable).with_name("interceptor-cni"))
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
PREV_RESULT = (
    '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],'
    '  "ips":[{"address":"10.1.0.1/24","interface":0}], "of another": 1.50, "dns":{}}'
)
"""With what no model of a result keeps: spaces, an unknown key, a number's last nought."""


class Answer(NamedTuple):
    """What a call of the plugin left."""

    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> dict[str, Any]:
        assert self.status == 1, self
        return dict(json.loads(self.stdout))

    @property
    def log(self) -> dict[str, Any]:
        (line,) = self.stderr.splitlines()
        return dict(json.loads(line))


class Network:
    """A network configuration with our entry, and the calls a runtime makes for it.

    Args:
        state: directory of the state files.
        own: what else is in the entry's object.
        version: of CNI.
        program: the words that start the plugin.
    """

    def __init__(
        self,
        state: Path,
        *,
        version: str = "1.0.0",
        program: tuple[str, ...] = (PLUGIN,),
        **own: Any,
    ) -> None:
        self.state = state
        self.program = program
        self.version = version
        self.own = {"state_dir": str(state), "selector": ["*"], **own}

    def conf(self, **more: Any) -> dict[str, Any]:
        return {
            "cniVersion": self.version,
            "name": "net",
            "type": "interceptor-cni",
            "interceptor": self.own,
            **more,
        }

    def text(self, annotations: object = None, prev_result: str = PREV_RESULT, **more: Any) -> str:
        """Write it as libcni does for a call, the previous result to the byte."""
        if annotations is not None:
            more["runtimeConfig"] = {
                ANNOTATIONS: annotations,
                **more.get("runtimeConfig", {}),
            }
        text = json.dumps(self.conf(**more))
        return f'{text[:-1]}, "prevResult": {prev_result}}}' if prev_result else text

    def call(
        self,
        verb: str,
        netns: str = "",
        *,
        annotations: object = None,
        container: str = "c1",
        namespace: str = "shop",
        **more: Any,
    ) -> Answer:
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=cart;K8S_POD_UID=u-1"
        return call(
            self.text(annotations, **more),
            program=self.program,
            CNI_COMMAND=verb,
            CNI_CONTAINERID=container,
            CNI_NETNS=netns,
            CNI_IFNAME="eth0",
            CNI_PATH="/opt/cni/bin",
            CNI_ARGS=args,
        )

    def add(self, netns: str, **more: Any) -> Answer:
        """Add and expect that it goes well."""
        answer = self.call("ADD", netns, **more)
        assert answer.status == 0, answer
        return answer

    @property
    def attachments(self) -> list[str]:
        return sorted(path.name for path in self.state.glob("*"))


def call(stdin: str, *, program: tuple[str, ...] = (PLUGIN,), **environment: str) -> Answer:
    """Run a plugin with an environment of its own and nothing else."""
    done = subprocess.run(
        program,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
