"""The program ``interceptor-cni``: one call of a runtime, from its environment to its answer."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
from typing import TYPE_CHECKING

from interceptor import __version__
from interceptor.files import fill_standard_descriptors, read_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.cni.netconf import PluginConf
    from interceptor.cni.notes import Notes
    from interceptor.cni.protocol import CniError

_MOST_BYTES = 1 << 26
_STDIN_S = 30.0


def main() -> None:
    """Serve the call this process was started for, as a short process does: see ``cli.entry``."""
    gc.disable()
    fill_standard_descriptors()
    code, answer = run(os.environ)
    _write_out(answer)
    os._exit(code)


def run(environment: Mapping[str, str]) -> tuple[int, bytes]:
    """Serve one call and give the exit status and what is for stdout."""
    name = environment.get("CNI_COMMAND", "")
    if not name:
        from interceptor.cni.versions import VERSIONS

        about = f"interceptor-cni {__version__}: a chained CNI plugin that intercepts a pod\n"
        sys.stderr.write(f"{about}CNI protocol versions supported: {', '.join(VERSIONS)}\n")
        return 0, b""
    if name == "VERSION":
        from interceptor.cni.versions import versions_as_json

        return 0, versions_as_json()
    return _serve(environment)


def _serve(environment: Mapping[str, str]) -> tuple[int, bytes]:
    from interceptor.cni import log
    from interceptor.cni.netconf import PluginConf
    from interceptor.cni.versions import VERSIONS

    began = time.monotonic()
    served = _Served(VERSIONS[-1], PluginConf())
    notes: Notes = {
        "verb": environment.get("CNI_COMMAND", ""),
        "container": environment.get("CNI_CONTAINERID", ""),
        "netns": environment.get("CNI_NETNS", ""),
        "ifname": environment.get("CNI_IFNAME", ""),
    }
    code, answer = 0, b""
    try:
        answer = served.answer(environment, notes)
    except BaseException as raised:  # noqa: BLE001 - the last one to see it: the runtime is told
        error = _as_cni(raised)
        code, answer = 1, error.as_json(served.version) + b"\n"
        notes.update(code=int(error.code), error=error.message, details=error.details)
    notes["ms"] = round((time.monotonic() - began) * 1e3, 1)
    log.write(notes, served.plugin.log_file, served.plugin.log_max_bytes)
    return code, answer


class _Served:
    """What is known of the call so far, for the answer and the log also if it goes wrong."""

    def __init__(self, version: str, plugin: PluginConf) -> None:
        self.version = version
        self.plugin = plugin

    def answer(self, environment: Mapping[str, str], notes: Notes) -> bytes:
        from interceptor.cni import netconf
        from interceptor.cni.protocol import Call

        call = Call.read(environment)
        conf = netconf.read(_standard_input(), call)
        self.version, self.plugin = conf.version, conf.plugin
        verb = importlib.import_module(f"interceptor.cni.verbs.{call.verb.module}")
        answer: bytes = verb.run(call, conf, notes)
        return answer


def _standard_input() -> bytes:
    from interceptor.cni.protocol import CniError, Code

    try:
        return read_stream(sys.stdin, _MOST_BYTES, _STDIN_S)
    except TimeoutError:
        reason = f"no end of it within {_STDIN_S:g} seconds"
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
    raise CniError(Code.IO, f"error reading from stdin: {reason}")


def _as_cni(raised: BaseException) -> CniError:
    from interceptor.cni.protocol import CniError, Code
    from interceptor.errors import InterceptorError

    match raised:
        case CniError():
            return raised
        case InterceptorError():
            return CniError.of(raised)
        case KeyboardInterrupt():
            return CniError(Code.TRY_LATER, "ended by a signal; the namespace is as it was")
        case OSError():
            where = f"{raised.filename}: " if raised.filename else ""
            return CniError(Code.IO, f"{where}{raised.strerror or raised}")
        case _:
            return CniError(
                Code.NOT_INSTALLED,
                f"a fault of this program: {type(raised).__name__}: {raised}",
                "please report it with the network configuration and the log",
            )


def _write_out(answer: bytes) -> None:
    view = memoryview(answer)
    while view:
        try:
            view = view[os.write(1, view) :]
        except OSError:
            # Nobody reads: the exit status is all there is to say.
            return
