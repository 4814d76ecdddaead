"""Command lines of other meshes' tools: what they take, how it is read, what it means here.

What several have in common is here, each tool has a room of its own and knows no other.
"""
