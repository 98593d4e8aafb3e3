-- Collecting that waits instead of failing: what each source allows, shared by all processes; what is left
-- of a collection; which videos are gone; what a channel's listing says about it.

-- How each source (a site, not an extractor) is asked: one row, locked for the moment of a decision.
CREATE TABLE sources (
    source text PRIMARY KEY CHECK (source <> ''),              -- "youtube", "tiktok", or a host
    next_at timestamptz,                                       -- not before this moment is the next request sent
    last_number bigint NOT NULL DEFAULT 0,                     -- of source_requests
    -- the circuit breaker: closed without resume_at; open before it; half-open after it
    opened_at timestamptz,
    resume_at timestamptz,
    reason text,                                               -- why it is open, for people
    refusals integer NOT NULL DEFAULT 0 CHECK (refusals >= 0), -- times it opened without a quiet day between
    closed_at timestamptz,                                     -- when it last closed
    probe_by text,                                             -- who may try while it is half-open …
    probe_until timestamptz                                    -- … and until when
) WITH (fillfactor = 50);

-- Every request of the last day. The numbers of a source grow with the moments, so what lies between two
-- of them is known from two rows: a budget is counted exactly, however large it is.
CREATE TABLE source_requests (
    source text NOT NULL REFERENCES sources ON DELETE CASCADE,
    number bigint NOT NULL,
    at timestamptz NOT NULL,
    -- of the last request of each step (a page of a listing, a video): what came of the step
    outcome text CHECK (outcome IN ('ok', 'gone', 'invalid', 'transient', 'extractor', 'rate_limited', 'unsent')),
    PRIMARY KEY (source, number)
);
CREATE INDEX source_requests_by_time ON source_requests (source, at);

-- A collection that must wait says until when; one that is cancelled keeps what it has.
ALTER TABLE collections
    ADD COLUMN alive_at timestamptz,                           -- of a running one: its last sign of life
    ADD COLUMN resume_at timestamptz,                          -- of a waiting one: not before
    ADD COLUMN tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0), -- runs that were broken off by errors, in a row
    ADD COLUMN listed_at timestamptz,                          -- when its listing was read to the end
    ADD COLUMN read_limit integer CHECK (read_limit >= 0),     -- videos to read in full; without it all
    ADD COLUMN parent_id bigint REFERENCES collections ON DELETE SET NULL, -- whose finds it follows
    ADD COLUMN pending integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
    DROP CONSTRAINT collections_state_check,
    ADD CONSTRAINT collections_state_check CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    DROP CONSTRAINT collections_kind_check,
    ADD CONSTRAINT collections_kind_check
        CHECK (kind IN ('topic', 'channel', 'hashtag', 'playlist', 'tiktok', 'url', 'revisit')),
    ADD CONSTRAINT nothing_is_done_while_anything_is_pending CHECK (state <> 'done' OR pending = 0);
CREATE INDEX collections_open ON collections (state, resume_at) WHERE state IN ('waiting', 'running');
ALTER TABLE watchlist
    DROP CONSTRAINT watchlist_kind_check,
    ADD CONSTRAINT watchlist_kind_check CHECK (kind IN ('topic', 'channel', 'hashtag', 'playlist', 'tiktok', 'url'));

-- An item is there from the moment it is found, with all that reading it later needs.
ALTER TABLE collection_items
    DROP CONSTRAINT collection_items_outcome_check,
    ADD CONSTRAINT collection_items_outcome_check
        CHECK (outcome IN ('pending', 'new', 'updated', 'skipped', 'failed')),
    ADD COLUMN error_kind text
        CHECK (error_kind IN ('transient', 'rate_limited', 'gone', 'extractor', 'invalid')),
    ADD COLUMN expected boolean NOT NULL DEFAULT false,        -- yt-dlp says so: the site's answer, no defect
    ADD COLUMN attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    ADD COLUMN url text,
    ADD COLUMN extractor text,                                 -- yt-dlp's key of the one that reads the url
    ADD COLUMN short boolean NOT NULL DEFAULT false,           -- the listing gave its /shorts/ address
    ADD COLUMN listed boolean NOT NULL DEFAULT false,          -- what the listing says of it is stored
    ADD COLUMN first boolean NOT NULL DEFAULT false,           -- this collection brought it in
    ADD COLUMN turn integer NOT NULL DEFAULT 1,                -- 0 new, 1 due for another look, 2 others
    ADD COLUMN promise real NOT NULL DEFAULT 0,                -- the greater, the sooner it is read
    ADD COLUMN position integer NOT NULL DEFAULT 0;            -- in the listing
CREATE INDEX collection_items_pending ON collection_items (collection_id) WHERE outcome = 'pending';

-- Videos that are gone (private, deleted, locked): never asked for again.
CREATE TABLE gone_videos (
    candidate_id candidate_key PRIMARY KEY,                    -- or the item's address, where no id is known
    reason text NOT NULL,                                      -- the source's own words
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- What one listing of a channel's tab says: the usual views of its videos, as of that moment.
ALTER TABLE channels
    ADD COLUMN baseline_views double precision CHECK (baseline_views >= 0), -- the median
    ADD COLUMN baseline_n integer CHECK (baseline_n > 0),      -- videos it is the median of
    ADD COLUMN baseline_format text CHECK (baseline_format IN ('video', 'short', 'live')),
    ADD COLUMN baseline_at timestamptz;

-- Where each snapshot comes from, in words that can be filtered by. Its era: since 2025-03-31 every start
-- of a YouTube Short counts as a view (metrics.SHORTS_ERA); counts of both eras do not compare.
CREATE VIEW snapshot_provenance WITH (security_invoker = true) AS
SELECT snapshots.candidate_id, snapshots.observed_at AS fetched_at, snapshots.views, snapshots.exact,
    snapshots.tier, snapshots.source,
    CASE WHEN snapshots.source LIKE '%yt-dlp-%' THEN split_part(snapshots.source, ' ', 1) END AS extractor,
    substring(snapshots.source FROM 'yt-dlp-(\S+)$') AS extractor_version,
    CASE WHEN published_at IS NOT NULL THEN 'exact' WHEN published_about IS NOT NULL THEN 'approximate' END AS date,
    CASE
        WHEN platform <> 'youtube' OR media_type IS DISTINCT FROM 'short' THEN 'views'
        WHEN snapshots.observed_at < '2025-03-31Z' THEN 'shorts before 2025-03-31'
        ELSE 'shorts since 2025-03-31'
    END AS view_era
FROM snapshots JOIN candidates USING (candidate_id);

GRANT SELECT ON sources, source_requests, gone_videos, snapshot_provenance
TO miles_viewer, miles_operator, miles_worker;
GRANT INSERT, UPDATE, DELETE ON sources, source_requests, gone_videos TO miles_worker;
-- an operator may cancel and resume collections, and have a source tried before its time
GRANT UPDATE ON collection_items, sources TO miles_operator;
