-- outside a transaction
-- What `0033_retention.sql` needs of the digests that are there, so that it locks them for a moment
-- only: a week that is none, an index as that of the weeks, and a constraint that is known to hold.

SET lock_timeout = '5s';
ALTER TABLE mc.quotable ADD COLUMN IF NOT EXISTS week date NOT NULL DEFAULT '2000-01-01';
DROP INDEX CONCURRENTLY IF EXISTS mc.quotable_before_once;
CREATE UNIQUE INDEX CONCURRENTLY quotable_before_once ON mc.quotable (digest, tenant, week);
ALTER TABLE mc.quotable DROP CONSTRAINT IF EXISTS told_before_weeks;
ALTER TABLE mc.quotable ADD CONSTRAINT told_before_weeks CHECK (week < '2001-01-01') NOT VALID;
ALTER TABLE mc.quotable VALIDATE CONSTRAINT told_before_weeks;
RESET lock_timeout;
