"""The steps of the night, one file each, and their table. When they run is not decided here."""
