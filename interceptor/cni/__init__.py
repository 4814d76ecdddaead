"""The chained CNI plugin ``interceptor-cni``: CNI 0.3.1 to 1.1.0, every verb.

A runtime waits for it at each pod's start, so what is imported here is counted: no click, rich,
pyroute2 or scapy, see tests/unit/test_startup.py.
"""
