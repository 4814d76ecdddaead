"""``make bench``: every benchmark, one table each."""

from __future__ import annotations

import compileall
import os
import platform
import sys

from bench import analysis, cni, connections, ebpf, images, install, legacy, startup

_ROUNDS = 15
_SLOW_ROUNDS = 5
_EBPF_ROUNDS = 11


def main() -> None:
    """Run all of them."""
    if os.geteuid() != 0:
        sys.exit("bench: it makes network namespaces, so it needs root")
    compileall.compile_dir("interceptor", quiet=1)
    print(
        f"Linux {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    install.bench(_ROUNDS)
    install.bench_many_networks(_SLOW_ROUNDS)
    cni.bench(_ROUNDS)
    connections.bench(_ROUNDS)
    ebpf.bench(_EBPF_ROUNDS)
    ebpf.bench_enabling(_ROUNDS)
    analysis.bench(_SLOW_ROUNDS)
    analysis.bench_big_host(_SLOW_ROUNDS)
    startup.bench(_ROUNDS)
    startup.bench_imports()
    images.bench(_SLOW_ROUNDS)
    legacy.bench(_SLOW_ROUNDS)


if __name__ == "__main__":
    main()
