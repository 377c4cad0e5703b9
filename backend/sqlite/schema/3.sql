-- The unique keys that jobs hold, until a time if that is not 0. A job that holds one has
-- it in its row, held, and how in hold: 1 until it has finished, 2 until it has started, 3 for a time; the
-- triggers free the key in the very step that ends the hold.
ALTER TABLE caddis_job ADD COLUMN hold INTEGER;
ALTER TABLE caddis_job ADD COLUMN held BLOB;

CREATE TABLE caddis_key (
	queue   INTEGER NOT NULL,
	key     BLOB NOT NULL,
	job     TEXT NOT NULL,
	until   INTEGER NOT NULL DEFAULT 0,
	-- 1 once the job was leased.
	started INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (queue, key)
) WITHOUT ROWID;

CREATE INDEX caddis_key_until ON caddis_key (queue, until) WHERE until > 0;

CREATE TRIGGER caddis_job_started AFTER UPDATE OF state ON caddis_job WHEN old.hold IS NOT NULL AND new.state = 3
BEGIN
	DELETE FROM caddis_key WHERE queue = new.queue AND key = new.held AND job = new.id AND new.hold = 2;
	UPDATE caddis_key SET started = 1 WHERE queue = new.queue AND key = new.held AND job = new.id;
END;

CREATE TRIGGER caddis_job_ended AFTER UPDATE OF state ON caddis_job WHEN old.hold IS NOT NULL AND new.state >= 4
BEGIN
	DELETE FROM caddis_key WHERE queue = new.queue AND key = new.held AND job = new.id AND until = 0;
	UPDATE caddis_job SET hold = NULL, held = NULL WHERE seq = new.seq;
END;

-- A job that is deleted while it runs has been completed and is not kept.
CREATE TRIGGER caddis_job_gone AFTER DELETE ON caddis_job WHEN old.hold IS NOT NULL
BEGIN
	DELETE FROM caddis_key WHERE queue = old.queue AND key = old.held AND job = old.id AND (until = 0 OR old.state < 3);
END;
