"""Looking after a workspace: make it, look it over, repair, back up, maintain, raise alerts."""
