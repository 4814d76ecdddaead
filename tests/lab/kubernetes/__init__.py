"""A cluster of one node, of real parts: etcd, kube-apiserver, kubelet and containerd.

There is no scheduler and no controller: pods name their node. All of it listens in a network
namespace of its own, so the usual ports will do, and ends by its process ids.
"""
