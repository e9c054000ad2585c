"""Files of adapters and bases as a merge reads and writes them. No sum is formed here."""
