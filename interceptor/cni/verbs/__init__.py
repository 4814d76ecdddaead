"""One module for each verb of CNI; ``run`` gives the bytes for stdout and notes for the log."""
