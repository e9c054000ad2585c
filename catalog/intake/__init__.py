"""From files and databases to rows of the lake or of quarantine. No model is known here."""
