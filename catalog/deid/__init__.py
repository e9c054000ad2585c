"""The de-identification gate: rules as data, findings without values. No row is changed here."""
