"""The chained CNI plugin; its imports are lean, as it holds up every pod of a node."""
