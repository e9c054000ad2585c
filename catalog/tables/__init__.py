"""What the lake holds: tables, columns, units, migrations. No connection is opened here."""
