"""One pod's rules, put in force and compared: what ADD, CHECK and repair have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from interceptor import __version__
from interceptor.backends.ebpf import PIN_ROOT
from interceptor.cni.attachments import Attachment
from interceptor.config import BackendChoice, DnsCapture
from interceptor.errors import ConfigError
from interceptor.settings import SETTINGS, Scope, show
from interceptor.system import host
from interceptor.system.deadline import Deadline
from interceptor.values import Networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.cni.namespace import Namespace
    from interceptor.cni.pod import Pod
    from interceptor.config import Config
    from interceptor.facts import HostFacts
    from interceptor.operations.install import Installed
    from interceptor.operations.policy import Policy
    from interceptor.operations.status import Status

_KEPT = sorted(
    name
    for name, setting in SETTINGS.items()
    if setting.scope in (Scope.POLICY, Scope.HOST) or name in ("timeout", "unproven")
)
"""Settings an attachment is written down with: all that installing it again needs."""


def intercept(namespace: Namespace, policy: Policy, resolvers: Sequence[str]) -> Installed:
    """Put a policy in force in a pod's namespace, all of it or nothing.

    Raises:
        InterceptorError: why not.
    """
    deadline = Deadline(policy.config.timeout)
    from interceptor.operations.install import install

    with namespace.site(deadline) as site:
        known = _facts(policy.config, resolvers)
        return install(policy.config, policy.sheet, site, deadline, facts=known)


def compared(namespace: Namespace, attachment: Attachment) -> Status:
    """Compare what is in force in a pod's namespace with what was meant.

    Raises:
        InterceptorError: it cannot be compared.
    """
    from interceptor.operations.status import status

    policy = attachment.policy
    deadline = Deadline(policy.config.timeout)
    with namespace.site(deadline, shared=True) as site:
        known = _facts(policy.config, attachment.resolvers)
        return status(policy, site, facts=known)


def written_down(
    container: tuple[str, str, str],
    pod: Pod,
    namespace: Namespace,
    config: Config,
    resolvers: tuple[str, ...],
) -> Attachment:
    """Give what is to be remembered; ``container`` is its id, the interface and the network."""
    container_id, ifname, network = container
    at_sockets = config.backend is BackendChoice.EBPF or os.path.isdir(PIN_ROOT)
    return Attachment(
        container_id=container_id,
        ifname=ifname,
        network=network,
        netns=namespace.path,
        netns_inode=namespace.inode,
        namespace=pod.namespace,
        pod=pod.name,
        uid=pod.uid,
        settings={name: show(getattr(config, name)) for name in _KEPT},
        resolvers=resolvers,
        version=__version__,
        netns_cookie=namespace.cookie if at_sockets else 0,
    )


def _facts(config: Config, resolvers: Sequence[str]) -> HostFacts:
    """Observe the namespace this thread is in; its name servers are those the runtime says.

    Raises:
        ConfigError: they are needed, and it does not say any.
    """
    if config.capture_dns is not DnsCapture.RESOLV_CONF:
        return host.observe(config, resolvers=Networks())
    if not resolvers:
        raise ConfigError(
            f"capture_dns {config.capture_dns}: the runtime does not say the pod's name servers",
            hint='declare the capability "dns" in the entry, or capture DNS to anywhere: all',
        )
    try:
        known = Networks.parse(",".join(resolvers))
    except ValueError as error:
        raise ConfigError(f"the runtime's name servers: {error}") from None
    return host.observe(config, resolvers=known)
