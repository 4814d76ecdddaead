"""What a node needs around the plugin: the bundle it runs from, its configuration, its agent."""
