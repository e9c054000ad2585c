"""Whether what serves is what was put on record, and the way back to a version that is."""
