"""The command line of consul connect redirect-traffic: its options, and their meaning."""
