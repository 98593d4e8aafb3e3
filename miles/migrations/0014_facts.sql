-- What Scores and Title patterns are computed from: of each video a narrow row of numbers, which a dashboard reads
-- in one go and keeps in memory as columns (miles/facts.py). Words stand in it as codes.

CREATE TABLE fact_codes (
    code smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('platform', 'format', 'category', 'language')),
    value text NOT NULL,
    UNIQUE (kind, value)
);

-- A video whose title changes gets a new number: what is known of the old title by its number no longer counts.
CREATE TABLE facts (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    candidate_id candidate_key NOT NULL UNIQUE REFERENCES candidates ON DELETE CASCADE,
    title_hash bigint NOT NULL,
    channel bigint NOT NULL,                                   -- hash of the channel's key; a video without one is its own
    platform smallint NOT NULL,
    format smallint,
    category smallint,
    language smallint,
    duration real,                                             -- seconds
    published_at timestamptz,
    observed_at timestamptz,
    views bigint,
    viral_score double precision,
    base_rate double precision,
    outlier_multiple double precision,
    velocity double precision,                                 -- views per day, as the next
    predicted_velocity double precision,
    forms bigint                                               -- bits: the rules that hold (patterns.forms); NULL: not read yet
);
CREATE INDEX facts_unread ON facts (number) WHERE forms IS NULL;

-- The mined words, each with the numbers of its videos (int32, little-endian, ascending).
CREATE TABLE title_ngrams (
    ngram text PRIMARY KEY,
    videos bytea NOT NULL
);

GRANT SELECT ON fact_codes, facts, title_ngrams TO miles_viewer, miles_operator, miles_worker;
GRANT INSERT, UPDATE, DELETE ON fact_codes, facts, title_ngrams TO miles_worker;
