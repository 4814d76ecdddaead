"""What a node needs around the CNI plugin: put there, watched, and what it missed found."""
