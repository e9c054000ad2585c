"""Named questions to the lake, read only. No row is written here."""
