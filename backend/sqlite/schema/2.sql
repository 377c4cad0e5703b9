-- Schedules, by name. Instants are 0 for none.
CREATE TABLE caddis_schedule (
	queue    INTEGER NOT NULL,
	name     TEXT NOT NULL,
	spec     BLOB NOT NULL,
	next     INTEGER NOT NULL,
	paused   INTEGER NOT NULL,
	version  INTEGER NOT NULL,
	last     INTEGER NOT NULL DEFAULT 0,
	-- The id of the last job.
	job      TEXT NOT NULL DEFAULT '',
	enqueued INTEGER NOT NULL DEFAULT 0,
	skipped  INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (queue, name)
) WITHOUT ROWID;

-- Of each queue that ever had a schedule, how many there are, how often one was changed,
-- by ticks as well, and how often one was put or deleted.
CREATE TABLE caddis_schedules (
	queue    INTEGER PRIMARY KEY,
	count    INTEGER NOT NULL,
	versions INTEGER NOT NULL,
	changes  INTEGER NOT NULL
);
