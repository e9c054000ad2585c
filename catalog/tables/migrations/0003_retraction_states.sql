-- A retraction is on record before it erases anything, and says how far it has come
ALTER TABLE core.retractions ADD COLUMN source VARCHAR;
ALTER TABLE core.retractions ADD COLUMN state VARCHAR;
ALTER TABLE core.retractions ADD COLUMN completed_at TIMESTAMPTZ;
