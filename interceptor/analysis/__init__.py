"""What rules do to packets, worked out without a kernel."""
