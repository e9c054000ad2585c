"""One module per base family; of ours it imports `shared` alone: the registry ships both."""
