"""Real connections in a pod's namespace, and where each of them ended."""
