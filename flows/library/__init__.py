"""What a run measures once of its library and shares: references, limits, weights of drafts."""
