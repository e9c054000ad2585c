-- a comparison says what mean it is of, which test vouched, and how many groups lost; of earlier
-- ones nothing of this is known
ALTER TABLE core.comparisons ADD COLUMN mean_over VARCHAR;
ALTER TABLE core.comparisons ADD COLUMN item_difference DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN cap DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN test VARCHAR;
ALTER TABLE core.comparisons ADD COLUMN n_lost BIGINT;
ALTER TABLE core.comparisons ADD COLUMN loss_size DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN loss_upper DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN loss_share DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN n_groups_needed BIGINT;
