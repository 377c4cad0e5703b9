-- Times are in milliseconds since 1970, by the store's clock.

CREATE TABLE caddis_queue (
	id      INTEGER PRIMARY KEY,
	name    TEXT NOT NULL UNIQUE,
	-- 1 for good, or until when.
	paused  INTEGER NOT NULL DEFAULT 0,
	-- The ranks given out last at either end of its lines.
	front   INTEGER NOT NULL DEFAULT 0,
	back    INTEGER NOT NULL DEFAULT 0,
	-- How many jobs are in each state, and what the finished ones weigh.
	scheduled INTEGER NOT NULL DEFAULT 0,
	waiting   INTEGER NOT NULL DEFAULT 0,
	blocked   INTEGER NOT NULL DEFAULT 0,
	running   INTEGER NOT NULL DEFAULT 0,
	completed INTEGER NOT NULL DEFAULT 0,
	cancelled INTEGER NOT NULL DEFAULT 0,
	dead      INTEGER NOT NULL DEFAULT 0,
	completed_bytes INTEGER NOT NULL DEFAULT 0,
	cancelled_bytes INTEGER NOT NULL DEFAULT 0,
	dead_bytes      INTEGER NOT NULL DEFAULT 0,
	-- What ever happened.
	ever_completed INTEGER NOT NULL DEFAULT 0,
	ever_failed    INTEGER NOT NULL DEFAULT 0,
	ever_cancelled INTEGER NOT NULL DEFAULT 0,
	ever_dead      INTEGER NOT NULL DEFAULT 0,
	ever_crashed   INTEGER NOT NULL DEFAULT 0,
	ever_trimmed   INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE caddis_job (
	seq      INTEGER PRIMARY KEY,
	queue    INTEGER NOT NULL,
	id       TEXT NOT NULL,
	-- 0 scheduled, 1 waiting, 2 blocked, 3 running, 4 completed, 5 cancelled, 6 dead
	state    INTEGER NOT NULL,
	-- 0 is the highest priority, 4 the lowest.
	level    INTEGER NOT NULL,
	-- The place among those of its line.
	rank     INTEGER NOT NULL,
	-- When it is due, its lease expires, or it is forgotten; 0 for never.
	at       INTEGER NOT NULL DEFAULT 0,
	-- What a blocked job waits for.
	key      TEXT,
	-- The lease of a running job: whose it is, whether it was leased ahead, is to be
	-- cancelled, or was completed in a transaction of the application: it then ends so,
	-- whatever becomes of its worker.
	token    TEXT,
	worker   TEXT,
	process  INTEGER,
	ahead    INTEGER NOT NULL DEFAULT 0,
	cancel   INTEGER NOT NULL DEFAULT 0,
	done     INTEGER NOT NULL DEFAULT 0,
	crashes  INTEGER NOT NULL DEFAULT 0,
	enqueued INTEGER NOT NULL,
	due      INTEGER NOT NULL,
	bytes    INTEGER NOT NULL,
	kind     TEXT NOT NULL,
	options  TEXT,
	history  TEXT,
	-- NULL if it is large and therefore in caddis_payload: a row is rewritten with
	-- each change of state.
	payload  BLOB
);

CREATE UNIQUE INDEX caddis_job_id ON caddis_job (queue, id);
CREATE INDEX caddis_job_scheduled ON caddis_job (queue, at, rank) WHERE state = 0;
CREATE INDEX caddis_job_waiting ON caddis_job (queue, level, rank) WHERE state = 1;
CREATE INDEX caddis_job_blocked ON caddis_job (queue, key, rank) WHERE state = 2;
CREATE INDEX caddis_job_running ON caddis_job (queue, at) WHERE state = 3;
CREATE INDEX caddis_job_cancel ON caddis_job (queue) WHERE state = 3 AND cancel = 1;
CREATE INDEX caddis_job_finished ON caddis_job (queue, state, rank) WHERE state >= 4;
CREATE INDEX caddis_job_kept ON caddis_job (queue, at) WHERE state >= 4 AND at > 0;

CREATE TABLE caddis_payload (
	seq  INTEGER PRIMARY KEY,
	data BLOB NOT NULL
);

CREATE TRIGGER caddis_job_deleted AFTER DELETE ON caddis_job WHEN old.payload IS NULL
BEGIN
	DELETE FROM caddis_payload WHERE seq = old.seq;
END;

-- The last calls of each worker, so that they can be repeated.
CREATE TABLE caddis_caller (
	worker  TEXT PRIMARY KEY,
	used    INTEGER NOT NULL,
	token   TEXT,
	leased  BLOB,
	call    INTEGER NOT NULL DEFAULT 0,
	results BLOB
) WITHOUT ROWID;

CREATE TABLE caddis_worker (
	id      TEXT PRIMARY KEY,
	process INTEGER,
	info    TEXT NOT NULL,
	seen    INTEGER NOT NULL,
	until   INTEGER NOT NULL
) WITHOUT ROWID;

-- The processes that hold leases. Each keeps the lock of its file as long as it lives.
CREATE TABLE caddis_process (
	id   INTEGER PRIMARY KEY AUTOINCREMENT,
	file TEXT NOT NULL
);

-- At the reading steady of the machine's clock that is never set, since the start boot
-- of the machine, the store's clock showed time; since then it goes at rate/1000.
CREATE TABLE caddis_clock (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	boot   TEXT NOT NULL,
	steady INTEGER NOT NULL,
	time   INTEGER NOT NULL,
	rate   INTEGER NOT NULL
);
