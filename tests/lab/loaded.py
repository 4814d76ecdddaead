"""Which modules a piece of the program loads."""

from __future__ import annotations

import subprocess
import sys

_REPORT = """
import sys
{code}
print("CODE", code, file=sys.stderr)
print("MODULES", *sorted(sys.modules), file=sys.stderr)
"""


def loaded_by(
    code: str, *, stdin: str = "", prefix: tuple[str, ...] = (), **environment: str
) -> set[str]:
    """Run lines that leave an exit code in ``code``, and give the modules that are loaded then.

    Without ``site``: what a host hooks into every Python is not the program's doing.
    """
    done = subprocess.run(
        [*prefix, sys.executable, "-S", "-c", _REPORT.format(code=code)],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": ":".join(sys.path),
            **environment,
        },
    )
    lines = {line.split(" ", 1)[0]: line for line in done.stderr.splitlines()}
    assert lines["CODE"] == "CODE 0", done
    return set(lines["MODULES"].split()[1:])
