"""A pod and its surroundings in network namespaces: for the tests, the demo and the benchmark."""
