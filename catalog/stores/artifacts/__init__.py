"""Artifacts: folders by the hash of their content, on disk or in a bucket. No row is known here."""
