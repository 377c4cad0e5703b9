-- Memos; those that expire are forgotten by the sweep. Expires is 0 for never.
CREATE TABLE caddis_memo (
	name    TEXT NOT NULL,
	key     TEXT NOT NULL,
	value   BLOB NOT NULL,
	version TEXT NOT NULL,
	expires INTEGER NOT NULL,
	PRIMARY KEY (name, key)
) WITHOUT ROWID;

CREATE INDEX caddis_memo_expires ON caddis_memo (expires) WHERE expires > 0;

-- What writes of memos have answered, until a time; sum is NULL where nothing was added.
CREATE TABLE caddis_memo_call (
	call    TEXT PRIMARY KEY,
	until   INTEGER NOT NULL,
	sum     INTEGER,
	expires INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX caddis_memo_call_until ON caddis_memo_call (until);
