"""One module per base family, self-contained: nothing of ours is imported, because the registry ships the source."""
