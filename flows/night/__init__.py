"""The night and what else runs steps on a schedule or on demand. No step's own work is here."""
