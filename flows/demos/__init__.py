"""The demos of `rpe init`: their table, and how each pretrains its base. No rows are made here."""
