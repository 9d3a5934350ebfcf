"""What the gateway knows of its devices: states, store, cache, and the registrar that commits in groups."""
