"""The rules of the gate as data, one file per kind of identifier, and their table."""
