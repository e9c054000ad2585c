"""Time: flows and the CLI; when and in which order. No arithmetic and no store driver here."""
