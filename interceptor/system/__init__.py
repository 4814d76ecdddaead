"""The host: processes, namespaces, locks and facts. With ``backends``, all that touches Linux."""
