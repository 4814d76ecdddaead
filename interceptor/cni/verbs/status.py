"""STATUS: could an ADD be served now?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.cni.attachments import Attachments
from interceptor.cni.pod import Pod
from interceptor.cni.pod_policy import meshed
from interceptor.cni.protocol import CniError, Code
from interceptor.cni.selector import selects
from interceptor.cni.verbs.common import check_ready
from interceptor.errors import InterceptorError
from interceptor.operations.site import Site
from interceptor.system import netns
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from interceptor.cni.netconf import NetConf
    from interceptor.cni.notes import Notes
    from interceptor.cni.protocol import Call

_LONGEST_S = 10.0


def run(_call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Say whether an ADD could be served now."""
    try:
        check_ready(conf)
        selects(conf.plugin.selector, {})
        wanted = meshed(conf.plugin.settings, Pod())
        Attachments(conf.plugin.state_dir).prepare()
        # As empty as a pod's, where the host's own may hold any number of rules.
        scratch = netns.make()
        with netns.closing(scratch), netns.inside(scratch):
            backends = Site(Deadline(_LONGEST_S)).preferences(wanted.config)
    except CniError as error:
        raise CniError(Code.NOT_AVAILABLE, error.message, error.details) from None
    except InterceptorError as error:
        raise CniError(Code.NOT_AVAILABLE, error.message, error.hint) from None
    notes.update(result="available", backends=backends)
    return b""
