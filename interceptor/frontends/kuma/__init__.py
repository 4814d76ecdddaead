"""The command line of kumactl install transparent-proxy: its options, files, and meaning."""
