"""One reader per file format: batches out, bounded memory. No rule about content belongs here."""
