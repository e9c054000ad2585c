"""One reader per file format: record batches out, bounded memory. No rule about content belongs here."""
