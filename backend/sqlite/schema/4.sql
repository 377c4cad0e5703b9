-- Limits. A job with limits that has not finished has a row for each of them, by their
-- number: hold is 0 while it runs, 1 until it has finished, 2 from its enqueue on; slot is 1
-- while it has a slot; spent is what the bucket became by the tokens of its lease, or 0. The
-- triggers free the slots in the very step that ends the hold.
ALTER TABLE caddis_job ADD COLUMN limited INTEGER;
-- The number under which a job was parked, until it is leased.
ALTER TABLE caddis_job ADD COLUMN parked INTEGER;
-- How many unfinished jobs have limits.
ALTER TABLE caddis_queue ADD COLUMN limited INTEGER NOT NULL DEFAULT 0;

CREATE TABLE caddis_limit (
	job   INTEGER NOT NULL,
	n     INTEGER NOT NULL,
	queue INTEGER NOT NULL,
	pair  TEXT NOT NULL,
	hold  INTEGER NOT NULL,
	cost  INTEGER NOT NULL,
	slot  INTEGER NOT NULL DEFAULT 0,
	spent INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (job, n)
) WITHOUT ROWID;

CREATE INDEX caddis_limit_slot ON caddis_limit (queue, pair) WHERE slot = 1;

-- The rules of classes, as JSON: what the programs say, and what was set.
CREATE TABLE caddis_class (
	queue INTEGER NOT NULL,
	name  TEXT NOT NULL,
	code  TEXT NOT NULL,
	fleet TEXT,
	PRIMARY KEY (queue, name)
) WITHOUT ROWID;

-- The buckets that are not full, by when they are, in microseconds.
CREATE TABLE caddis_bucket (
	queue INTEGER NOT NULL,
	pair  TEXT NOT NULL,
	full  INTEGER NOT NULL,
	PRIMARY KEY (queue, pair)
) WITHOUT ROWID;

CREATE INDEX caddis_bucket_full ON caddis_bucket (queue, full);

-- The pairs with parked jobs of which the first is to be looked at, by when: 0 is at once.
-- With -1 it is all pairs of a class after this one, which stands behind a line feed.
CREATE TABLE caddis_ready (
	id    INTEGER PRIMARY KEY,
	queue INTEGER NOT NULL,
	pair  TEXT NOT NULL,
	at    INTEGER NOT NULL
);

CREATE UNIQUE INDEX caddis_ready_pair ON caddis_ready (queue, pair);
CREATE INDEX caddis_ready_at ON caddis_ready (queue, at, id);

CREATE TRIGGER caddis_limit_freed AFTER UPDATE OF slot ON caddis_limit WHEN old.slot = 1 AND new.slot = 0
BEGIN
	INSERT INTO caddis_ready (queue, pair, at) SELECT new.queue, new.pair, 0
		WHERE EXISTS (SELECT 1 FROM caddis_job WHERE queue = new.queue AND state = 2 AND key = 'limit:' || new.pair)
		ON CONFLICT (queue, pair) DO UPDATE SET at = 0 WHERE at > 0;
END;

CREATE TRIGGER caddis_limit_gone AFTER DELETE ON caddis_limit
BEGIN
	DELETE FROM caddis_ready WHERE queue = old.queue AND pair = old.pair
		AND NOT EXISTS (SELECT 1 FROM caddis_job WHERE queue = old.queue AND state = 2 AND key = 'limit:' || old.pair);
	INSERT INTO caddis_ready (queue, pair, at) SELECT old.queue, old.pair, 0
		WHERE EXISTS (SELECT 1 FROM caddis_job WHERE queue = old.queue AND state = 2 AND key = 'limit:' || old.pair)
		ON CONFLICT (queue, pair) DO UPDATE SET at = 0 WHERE at > 0;
END;

CREATE TRIGGER caddis_limited_stopped AFTER UPDATE OF state ON caddis_job
	WHEN old.limited IS NOT NULL AND old.state = 3 AND new.state < 3
BEGIN
	UPDATE caddis_limit SET slot = 0 WHERE job = new.seq AND hold = 0 AND slot = 1;
END;

CREATE TRIGGER caddis_limited_ended AFTER UPDATE OF state ON caddis_job
	WHEN old.limited IS NOT NULL AND old.state < 4 AND new.state >= 4
BEGIN
	UPDATE caddis_job SET limited = NULL, parked = NULL WHERE seq = new.seq;
	DELETE FROM caddis_limit WHERE job = new.seq;
	UPDATE caddis_queue SET limited = limited - 1 WHERE id = new.queue;
END;

CREATE TRIGGER caddis_limited_gone AFTER DELETE ON caddis_job WHEN old.limited IS NOT NULL
BEGIN
	DELETE FROM caddis_limit WHERE job = old.seq;
	UPDATE caddis_queue SET limited = limited - 1 WHERE id = old.queue;
END;
