"""The plugin with all it needs, laid down on a host that has nothing of it.

::

    <bin dir>/interceptor-cni              a static launcher
    <bin dir>/.interceptor/<digest>/       all it starts: one tree for each bundle
        bin/ lib/ libexec/ sbin/           Python; libraries; tools; their launchers
        manifest                           what is in the tree, to see whether it still is
"""

from interceptor.node.bundle.home import inspect, lay, remove
from interceptor.node.bundle.tree import Laid

__all__ = ["Laid", "inspect", "lay", "remove"]
