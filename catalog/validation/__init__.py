"""Row rules, and the Great Expectations suite of a contract. No row is moved here."""
