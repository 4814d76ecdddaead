"""The command line of today's istio-iptables: its options, how it reads them, what they mean."""
