"""What people ask for, done with backends: choose one, install, uninstall, status, check."""
