-- adapters tell what their training took; of older and imported ones it is not known
ALTER TABLE core.adapters ADD COLUMN train_seconds DOUBLE;
ALTER TABLE core.adapters ADD COLUMN peak_memory_bytes BIGINT;
