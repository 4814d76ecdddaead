"""The command line of Linkerd's proxy-init: its options, and what they mean here."""
