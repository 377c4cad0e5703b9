-- How many jobs have a slot of a pair, kept by triggers: to count them with each lease would take
-- the longer the more there are.
CREATE TABLE caddis_held (
	queue INTEGER NOT NULL,
	pair  TEXT NOT NULL,
	n     INTEGER NOT NULL,
	PRIMARY KEY (queue, pair)
) WITHOUT ROWID;

INSERT INTO caddis_held (queue, pair, n) SELECT queue, pair, count(*) FROM caddis_limit WHERE slot = 1 GROUP BY queue, pair;

CREATE TRIGGER caddis_held_once AFTER INSERT ON caddis_limit WHEN new.slot = 1
BEGIN
	INSERT INTO caddis_held (queue, pair, n) VALUES (new.queue, new.pair, 1) ON CONFLICT (queue, pair) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER caddis_held_taken AFTER UPDATE OF slot ON caddis_limit WHEN old.slot = 0 AND new.slot = 1
BEGIN
	INSERT INTO caddis_held (queue, pair, n) VALUES (new.queue, new.pair, 1) ON CONFLICT (queue, pair) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER caddis_held_freed AFTER UPDATE OF slot ON caddis_limit WHEN old.slot = 1 AND new.slot = 0
BEGIN
	UPDATE caddis_held SET n = n - 1 WHERE queue = new.queue AND pair = new.pair;
	DELETE FROM caddis_held WHERE queue = new.queue AND pair = new.pair AND n <= 0;
END;

CREATE TRIGGER caddis_held_gone AFTER DELETE ON caddis_limit WHEN old.slot = 1
BEGIN
	UPDATE caddis_held SET n = n - 1 WHERE queue = old.queue AND pair = old.pair;
	DELETE FROM caddis_held WHERE queue = old.queue AND pair = old.pair AND n <= 0;
END;
