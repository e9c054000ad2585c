-- a representation tells how its variance is shared by directions; of older ones nobody looked
ALTER TABLE core.representations ADD COLUMN shares_json VARCHAR;
