"""Named reads of the mart and one static HTML page. Nothing is written to a store here."""
