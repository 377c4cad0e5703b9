-- Figures, by the beginning of their minute (step 60) or hour (step 3600) in seconds
-- since 1970, and kind; see backend.Figures.Text.
CREATE TABLE caddis_figure (
	queue INTEGER NOT NULL,
	step  INTEGER NOT NULL,
	at    INTEGER NOT NULL,
	kind  TEXT NOT NULL,
	data  TEXT NOT NULL,
	PRIMARY KEY (queue, step, at, kind)
) WITHOUT ROWID;

-- The kinds that a queue has figures of, and when some last came.
CREATE TABLE caddis_figure_kind (
	queue INTEGER NOT NULL,
	kind  TEXT NOT NULL,
	at    INTEGER NOT NULL,
	PRIMARY KEY (queue, kind)
) WITHOUT ROWID;

-- The events of each journal, as JSON, and when they came. That of the workers is of
-- queue 0.
CREATE TABLE caddis_event (
	queue  INTEGER NOT NULL,
	number INTEGER NOT NULL,
	at     INTEGER NOT NULL,
	data   TEXT NOT NULL,
	PRIMARY KEY (queue, number)
) WITHOUT ROWID;

-- The last call of each worker that records, as they may be repeated.
CREATE TABLE caddis_recorder (
	worker TEXT PRIMARY KEY,
	used   INTEGER NOT NULL,
	call   INTEGER NOT NULL
) WITHOUT ROWID;
