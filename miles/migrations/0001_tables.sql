-- The tables of Miles. Keys of videos and channels are "platform:id" in the C collation: they are
-- compared byte by byte, never sorted for people, and that is twice as fast in an index.

CREATE DOMAIN candidate_key AS text COLLATE "C" CHECK (VALUE ~ '^[^:]+:.+$');
CREATE DOMAIN tally AS bigint CHECK (VALUE >= 0);
CREATE DOMAIN probability AS double precision CHECK (VALUE BETWEEN 0 AND 1);

CREATE TABLE users (
    user_id text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- seen_at (here and in candidates): for each fact, the moment (microseconds since 1970) of the
-- observation that it comes from. It makes a merge independent of the order of arrival.
CREATE TABLE channels (
    channel_key candidate_key PRIMARY KEY,
    platform text NOT NULL,
    channel_id text NOT NULL,
    name text,
    url text,
    followers tally,
    seen_at jsonb NOT NULL DEFAULT '{}',
    sample boolean NOT NULL DEFAULT false,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    CHECK (channel_key = platform || ':' || channel_id)
);

CREATE TABLE candidates (
    candidate_id candidate_key PRIMARY KEY,
    platform text NOT NULL,
    video_id text NOT NULL,
    channel_key candidate_key REFERENCES channels,
    url text,
    title text NOT NULL CHECK (title <> ''),
    description text,
    category text,
    duration real CHECK (duration >= 0),                       -- seconds
    language text,
    media_type text CHECK (media_type IN ('video', 'short', 'live')),
    published_at timestamptz,                                  -- exact
    published_about timestamptz,                               -- approximate; never feeds a velocity
    tags text[],
    thumbnail_url text,
    -- the newest known counts
    views tally,
    likes tally,
    comments tally,
    observed_at timestamptz,                                   -- when `views` was seen
    seen_at jsonb NOT NULL DEFAULT '{}',
    tier text NOT NULL CHECK (tier IN ('flat', 'full')),
    source text NOT NULL,
    sample boolean NOT NULL DEFAULT false,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    -- changed_at moves when facts or snapshots change; measured_change and scored_change are the value of
    -- it that the roll-up and the model last saw, so that a change during their work is never missed
    changed_at timestamptz NOT NULL DEFAULT now(),
    measured_change timestamptz,
    scored_change timestamptz,
    -- measured by the roll-up
    velocity double precision,                                 -- views per day between two snapshots
    velocity_days real CHECK (velocity_days > 0),              -- the days between those two
    outlier_multiple double precision CHECK (outlier_multiple >= 0),
    outlier_n integer CHECK (outlier_n >= 0),
    country_count integer CHECK (country_count >= 0),          -- charts it was seen on
    -- the current score
    viral_score probability,
    base_rate probability,
    predicted_multiple double precision CHECK (predicted_multiple >= 0),
    predicted_velocity double precision CHECK (predicted_velocity >= 0),
    velocity_low double precision CHECK (velocity_low >= 0),
    velocity_high double precision,
    score_note text,
    model_version text,
    scored_at timestamptz,
    CHECK (candidate_id = platform || ':' || video_id),
    CHECK (velocity_low <= velocity_high)
);

-- Append-only. One row for each moment a video was looked at; partitioned by month, because old months
-- are only ever read for one video at a time or dropped whole.
CREATE TABLE snapshots (
    candidate_id candidate_key NOT NULL REFERENCES candidates ON DELETE CASCADE,
    observed_at timestamptz NOT NULL,
    views tally,
    likes tally,
    comments tally,
    country text,                                              -- the chart it was seen on, ISO 3166
    exact boolean NOT NULL,                                    -- false: the source rounds its counts
    tier text NOT NULL CHECK (tier IN ('flat', 'full')),
    source text NOT NULL,
    PRIMARY KEY (candidate_id, observed_at)
) PARTITION BY RANGE (observed_at);

CREATE TABLE model_versions (
    model_version text PRIMARY KEY,
    manifest jsonb NOT NULL,
    first_used_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE scores (
    candidate_id candidate_key NOT NULL REFERENCES candidates ON DELETE CASCADE,
    model_version text NOT NULL REFERENCES model_versions,
    mode text NOT NULL CHECK (mode IN ('draft', 'candidate')),
    viral_score probability NOT NULL,
    base_rate probability NOT NULL,
    predicted_multiple double precision CHECK (predicted_multiple >= 0),
    predicted_velocity double precision NOT NULL CHECK (predicted_velocity >= 0),
    velocity_low double precision NOT NULL CHECK (velocity_low >= 0),
    velocity_high double precision NOT NULL,
    predicted_velocity_7d double precision CHECK (predicted_velocity_7d >= 0),
    note text,
    scored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (candidate_id, model_version),
    CHECK (velocity_low <= velocity_high)
);

CREATE TABLE thumbnails (
    candidate_id candidate_key PRIMARY KEY REFERENCES candidates ON DELETE CASCADE,
    sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),             -- its key in the storage
    content_type text,
    width integer CHECK (width > 0),
    height integer CHECK (height > 0),
    bytes integer CHECK (bytes > 0),
    state text NOT NULL CHECK (state IN ('stored', 'failed')),
    reason text,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'stored') = (sha256 IS NOT NULL))
);

CREATE TABLE collections (
    collection_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target text NOT NULL CHECK (target <> ''),                 -- a topic, a channel, a hashtag, an address
    kind text NOT NULL CHECK (kind IN ('topic', 'channel', 'hashtag', 'url', 'revisit')),
    item_limit integer NOT NULL CHECK (item_limit > 0),
    asked_by text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    found integer NOT NULL DEFAULT 0 CHECK (found >= 0),
    new integer NOT NULL DEFAULT 0 CHECK (new >= 0),
    updated integer NOT NULL DEFAULT 0 CHECK (updated >= 0),
    skipped integer NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    failed integer NOT NULL DEFAULT 0 CHECK (failed >= 0),
    reason text,                                               -- why it failed, for people
    asked_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
);

-- What became of each id that a collection found.
CREATE TABLE collection_items (
    collection_id bigint NOT NULL REFERENCES collections ON DELETE CASCADE,
    candidate_id candidate_key NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('new', 'updated', 'skipped', 'failed')),
    reason text,
    PRIMARY KEY (collection_id, candidate_id)
);

CREATE TABLE watchlist (
    watch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target text NOT NULL CHECK (target <> ''),
    kind text NOT NULL CHECK (kind IN ('topic', 'channel', 'hashtag', 'url')),
    item_limit integer NOT NULL DEFAULT 20 CHECK (item_limit > 0),
    added_by text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, target)
);

CREATE TABLE queries (
    query_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    topic text NOT NULL,
    vibe text NOT NULL,
    generator text NOT NULL,                                   -- the language model's name, or "offline"
    asked_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE concepts (
    concept_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    query_id bigint NOT NULL REFERENCES queries ON DELETE CASCADE,
    position integer NOT NULL CHECK (position > 0),
    concept jsonb NOT NULL,                                    -- title, hook, outline, thumbnail idea, why …
    evidence text[] NOT NULL,                                  -- the candidates that back it
    viral_score probability NOT NULL,
    UNIQUE (query_id, position)
);

CREATE TABLE drafts (
    draft_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    title text NOT NULL CHECK (title <> ''),
    thumbnail_sha256 text,
    channel_key candidate_key,
    viral_score probability,
    predicted_multiple double precision CHECK (predicted_multiple >= 0),
    model_version text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE uploads (
    upload_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    draft_id bigint REFERENCES drafts ON DELETE CASCADE,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    content_type text NOT NULL,
    bytes bigint NOT NULL CHECK (bytes > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE usage (
    usage_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    service text NOT NULL,                                     -- "youtube", "openai" …
    requests integer NOT NULL DEFAULT 0 CHECK (requests >= 0),
    input_tokens integer NOT NULL DEFAULT 0 CHECK (input_tokens >= 0),
    output_tokens integer NOT NULL DEFAULT 0 CHECK (output_tokens >= 0),
    seconds double precision NOT NULL DEFAULT 0 CHECK (seconds >= 0),
    cost_usd numeric(12, 6) CHECK (cost_usd >= 0)
);

-- Roll-ups: written by the worker after collecting and scoring, small enough to be read whole.
CREATE TABLE daily_counts (
    day date PRIMARY KEY,
    snapshots bigint NOT NULL,
    candidates bigint NOT NULL                                 -- first seen on that day
);

CREATE TABLE title_patterns (
    scope text NOT NULL,                                       -- "all", "category:Music", "format:short" …
    kind text NOT NULL CHECK (kind IN ('structure', 'ngram')),
    pattern text NOT NULL,
    n_videos integer NOT NULL CHECK (n_videos > 0),
    n_channels integer NOT NULL CHECK (n_channels > 0),
    lift double precision NOT NULL CHECK (lift > 0),           -- ratio of outlier multiples, within channel
    lift_low double precision NOT NULL,                        -- 95% interval over channels
    lift_high double precision NOT NULL,
    q_value probability NOT NULL,                              -- after Benjamini-Hochberg
    examples text[] NOT NULL,
    PRIMARY KEY (scope, kind, pattern)
);

CREATE TABLE rollups (
    name text PRIMARY KEY,
    data jsonb NOT NULL,
    refreshed_at timestamptz NOT NULL DEFAULT now()
);

-- Monthly partitions. A worker may not create tables, so these run as the owner. A partition is made as a
-- table of its own and attached: that lets everyone read and write meanwhile, and lets a bulk load fill it
-- before its key and its reference to candidates are made, each in one go instead of row by row.

-- The name of a month's new table, yet to be filled by the caller and attached in the same transaction;
-- NULL if the month has its partition. Until the end of the transaction nobody else writes candidates: it
-- is the lock that attaching wants, taken before any other, so that two who wait never wait for each other.
CREATE FUNCTION new_snapshot_partition(month timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    name text := 'snapshots_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM');
BEGIN
    IF month < '2005-01-01Z' OR month > now() + interval '2 days' THEN
        RAISE EXCEPTION 'snapshots in the month of % are not believable', month;
    END IF;
    IF to_regclass(name) IS NULL THEN
        LOCK TABLE candidates IN SHARE ROW EXCLUSIVE MODE;
        IF to_regclass(name) IS NULL THEN  -- nobody else made it while we waited
            EXECUTE format('CREATE TABLE %I (LIKE snapshots INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
            EXECUTE format('GRANT INSERT ON %I TO miles_worker', name);
            RETURN name;
        END IF;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION attach_snapshot_partition(month timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    start timestamp := date_trunc('month', month AT TIME ZONE 'UTC');
    name text := 'snapshots_' || to_char(start, 'YYYY_MM');
BEGIN
    EXECUTE format('REVOKE INSERT ON %I FROM miles_worker', name);
    EXECUTE format(
        'ALTER TABLE snapshots ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, start AT TIME ZONE 'UTC', (start + interval '1 month') AT TIME ZONE 'UTC'
    );
END $$;

-- Makes the partitions that cover a span.
CREATE FUNCTION ensure_snapshot_partitions(earliest timestamptz, latest timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    month timestamp := date_trunc('month', earliest AT TIME ZONE 'UTC');
BEGIN
    IF earliest < '2005-01-01Z' OR latest > now() + interval '2 days' THEN
        RAISE EXCEPTION 'snapshots between % and % are not believable', earliest, latest;
    END IF;
    WHILE month <= latest AT TIME ZONE 'UTC' LOOP
        IF new_snapshot_partition(month AT TIME ZONE 'UTC') IS NOT NULL THEN
            PERFORM attach_snapshot_partition(month AT TIME ZONE 'UTC');
        END IF;
        month := month + interval '1 month';
    END LOOP;
END $$;
