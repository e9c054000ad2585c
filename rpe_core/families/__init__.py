"""One module per base family; it imports nothing of ours, because the registry ships its source."""
