"""Caption servers that a run starts itself and ends: their command, their processes, and who is up."""
