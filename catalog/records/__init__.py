"""What is put on record of adapters, ensembles and champions, store by store, the lake row last."""
