-- What the exploring pages ask for beside the sorts: the newest look at anything (the sidebar of every
-- page), a channel by words of its name, and the scores' distributions without reading the wide rows.

CREATE INDEX candidates_by_seen ON candidates (last_seen_at DESC);
CREATE INDEX channels_by_name ON channels USING gin (to_tsvector('simple', coalesce(name, '')));
