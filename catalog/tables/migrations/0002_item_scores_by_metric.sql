-- an item may be scored by several metrics; until now there were closed answer sets only
ALTER TABLE core.item_scores ADD COLUMN metric VARCHAR;
UPDATE core.item_scores SET metric = 'accuracy';
