-- The watchlist made whole: each entry with its own cadence, budget, region, language and filter, and the moment
-- of its next run; collections know which entry they are a run of; what small test queries of the sources came to.

ALTER TABLE watchlist
    ADD COLUMN every interval NOT NULL DEFAULT '6 hours' CHECK (every BETWEEN '1 hour' AND '31 days'),
    ADD COLUMN next_at timestamptz NOT NULL DEFAULT now(),     -- when it is due; its only schedule
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN read_limit integer CHECK (read_limit >= 0),     -- videos to read in full; without it all
    ADD COLUMN match_filter text CHECK (match_filter <> ''),   -- what to keep, in yt-dlp's own words
    ADD COLUMN language text CHECK (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,4})?$'),
    ADD COLUMN region text CHECK (region ~ '^[A-Z]{2}$'),
    DROP CONSTRAINT watchlist_kind_target_key,
    ADD CONSTRAINT watchlist_once UNIQUE NULLS NOT DISTINCT (kind, target, region, language);
CREATE INDEX watchlist_due ON watchlist (next_at) WHERE paused_at IS NULL;

ALTER TABLE collections
    ADD COLUMN watch_id bigint REFERENCES watchlist ON DELETE SET NULL, -- the entry that it is a run of
    ADD COLUMN match_filter text CHECK (match_filter <> ''),
    ADD COLUMN language text,
    ADD COLUMN region text;
-- Whoever asks, and however many at once: an entry has one run that is not over.
CREATE UNIQUE INDEX collections_one_run_of_an_entry ON collections (watch_id) WHERE state IN ('waiting', 'running');
CREATE INDEX collections_by_entry ON collections (watch_id, collection_id) WHERE watch_id IS NOT NULL;
CREATE INDEX collections_by_filter ON collections (match_filter, asked_at) WHERE match_filter IS NOT NULL;

-- One row for each time a source was asked a small question whose answer is known to have a certain shape.
CREATE TABLE canaries (
    canary_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    passed boolean NOT NULL,
    error_kind text CHECK (error_kind IN ('transient', 'rate_limited', 'gone', 'extractor', 'invalid')),
    reason text,                                               -- why not, for people
    requests integer NOT NULL CHECK (requests >= 0),
    seconds double precision NOT NULL CHECK (seconds >= 0),
    yt_dlp text NOT NULL,                                      -- its version
    CHECK (passed = (error_kind IS NULL))
);
CREATE INDEX canaries_newest ON canaries (source, at DESC);
GRANT SELECT ON canaries TO miles_viewer, miles_operator, miles_worker;
GRANT INSERT, DELETE ON canaries TO miles_worker;
GRANT USAGE ON SEQUENCE canaries_canary_id_seq TO miles_worker;
