"""The versions of the CNI spec, and the answer to VERSION, which a runtime may ask at each pod.

Nothing is imported here: what is asked most should cost least.
"""

from __future__ import annotations

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Of the spec, as far as this plugin speaks them; before 0.3.0 nothing was chained."""


def versions_as_json() -> bytes:
    """Answer VERSION."""
    spoken = ",".join(f'"{version}"' for version in VERSIONS)
    return f'{{"cniVersion":"{VERSIONS[-1]}","supportedVersions":[{spoken}]}}\n'.encode()
