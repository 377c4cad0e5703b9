-- Lanes. A job with a lane has it in its row; while it waits in its lane its level is 10 higher.
ALTER TABLE caddis_job ADD COLUMN lane TEXT;
-- How many unfinished jobs have lanes, and how many lanes are known.
ALTER TABLE caddis_queue ADD COLUMN laned INTEGER NOT NULL DEFAULT 0;

CREATE INDEX caddis_job_laned ON caddis_job (queue, level, lane, rank) WHERE state = 1 AND level >= 10;

-- The lanes of each level that have work, or are ahead of the virtual time: at is when they
-- start, or may start; of those that start at one time the one precedes whose first job has the
-- lower rank.
CREATE TABLE caddis_lane (
	queue   INTEGER NOT NULL,
	level   INTEGER NOT NULL,
	lane    TEXT NOT NULL,
	at      INTEGER NOT NULL,
	first   INTEGER NOT NULL,
	waiting INTEGER NOT NULL,
	PRIMARY KEY (queue, level, lane)
) WITHOUT ROWID;

CREATE INDEX caddis_lane_ready ON caddis_lane (queue, level, at, first) WHERE waiting > 0;
CREATE INDEX caddis_lane_resting ON caddis_lane (queue, level, at) WHERE waiting = 0;

-- The virtual time of each level that has or had lanes, and when those without a lane start.
CREATE TABLE caddis_turns (
	queue INTEGER NOT NULL,
	level INTEGER NOT NULL,
	now   INTEGER NOT NULL,
	list  INTEGER NOT NULL,
	PRIMARY KEY (queue, level)
) WITHOUT ROWID;

CREATE TRIGGER caddis_lane_left AFTER UPDATE OF state ON caddis_job
	WHEN old.level >= 10 AND old.state = 1 AND new.state <> 1
BEGIN
	UPDATE caddis_lane SET waiting = waiting - 1 WHERE queue = old.queue AND level = old.level - 10 AND lane = old.lane;
	UPDATE caddis_job SET level = old.level - 10 WHERE seq = old.seq;
END;

CREATE TRIGGER caddis_lane_gone AFTER DELETE ON caddis_job WHEN old.level >= 10
BEGIN
	UPDATE caddis_lane SET waiting = waiting - 1 WHERE queue = old.queue AND level = old.level - 10 AND lane = old.lane;
END;

CREATE TRIGGER caddis_laned_ended AFTER UPDATE OF state ON caddis_job
	WHEN old.lane IS NOT NULL AND old.state < 4 AND new.state >= 4
BEGIN
	UPDATE caddis_queue SET laned = laned - 1 WHERE id = old.queue;
END;

CREATE TRIGGER caddis_laned_gone AFTER DELETE ON caddis_job WHEN old.lane IS NOT NULL AND old.state < 4
BEGIN
	UPDATE caddis_queue SET laned = laned - 1 WHERE id = old.queue;
END;
