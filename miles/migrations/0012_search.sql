-- What Trending sorts, filters and searches by, and the filters that people save.

-- What a search sees of a title: the same letters however they are written. Accents and vowel points are dropped
-- (é = e), letters in costume are undressed (𝗯𝗼𝗹𝗱 = bold), case is folded in every script, emoji and other
-- signs part words, and what is written without spaces between words (Chinese, Japanese, Thai) is taken letter by
-- letter, so that a part of a sentence is found as a phrase. By our own rules, because the extension unaccent may
-- not be there, and because an index needs rules that stay.
DO $$
DECLARE
    folding text := (
        SELECT quote_ident(collname) FROM pg_collation WHERE collname IN ('pg_c_utf8', 'und-x-icu')
        ORDER BY collname = 'pg_c_utf8' DESC LIMIT 1
    );
BEGIN
    EXECUTE format($function$
        CREATE FUNCTION search_text(title text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
            SELECT CASE WHEN title ~ '^[\x01-\x7f]*$' THEN title ELSE regexp_replace(regexp_replace(
                lower(normalize(
                    regexp_replace(
                        normalize(title, NFKD), '[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]+', '', 'g'
                    ), NFC
                ) %s),
                '[\u00a1-\u00a9\u00ab-\u00b9\u00bb-\u00bf\u2000-\u2bff\u3000-\u3004\u3007-\u303f\ufe00-\ufe0f'
                    '\U0001f000-\U0001faff\U000e0000-\U000e0fff]+', ' ', 'g'),
                '[\u0e00-\u0e7f\u3005\u3006\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff'
                    '\U00020000-\U0003ffff]', ' \& ', 'g') END
        $body$
    $function$, coalesce('COLLATE ' || folding, ''));
END $$;

-- Words that stand side by side, as a query; with `begins` the last one may go on ("cook" finds "cooking").
CREATE FUNCTION search_term(words text, begins boolean) RETURNS tsquery LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN begins AND numnode(query) > 0 THEN (query::text || ':*')::tsquery ELSE query END
    FROM phraseto_tsquery('simple', search_text(words)) AS query
$$;
GRANT EXECUTE ON FUNCTION search_text(text), search_term(text, boolean)
TO miles_viewer, miles_operator, miles_worker;

-- The roll-up measures again what has a velocity: its acceleration is yet to be told.
UPDATE candidates SET measured_change = NULL WHERE velocity IS NOT NULL;

ALTER TABLE candidates
    ADD COLUMN velocity_before double precision,               -- views per day, measured up to where `velocity` begins
    ADD COLUMN acceleration double precision,                  -- views per day, each day, between those two
    -- as metrics.py defines them
    ADD COLUMN engagement_rate double precision GENERATED ALWAYS AS (
        CASE WHEN views > 0 AND likes > 0 THEN (likes + coalesce(comments, 0))::float8 / views END
    ) STORED,
    ADD COLUMN lifetime_velocity double precision GENERATED ALWAYS AS (
        CASE WHEN extract(epoch FROM observed_at - published_at) >= 3600
            THEN views / (extract(epoch FROM observed_at - published_at)::float8 / 86400) END
    ) STORED,
    ADD COLUMN search tsvector GENERATED ALWAYS AS (to_tsvector('simple', search_text(title))) STORED;

DROP INDEX candidates_by_title, channels_by_name;
CREATE INDEX candidates_by_search ON candidates USING gin (search);
CREATE INDEX channels_by_name ON channels USING gin (to_tsvector('simple', search_text(coalesce(name, ''))));
CREATE INDEX candidates_by_acceleration ON candidates (acceleration DESC NULLS LAST, candidate_id);
CREATE INDEX candidates_by_engagement ON candidates (engagement_rate DESC NULLS LAST, candidate_id);
CREATE INDEX candidates_by_lifetime ON candidates (lifetime_velocity DESC NULLS LAST, candidate_id);
CREATE INDEX candidates_by_category ON candidates (category);
CREATE INDEX candidates_by_language ON candidates (language);
CREATE INDEX candidates_by_format ON candidates (media_type);
CREATE INDEX candidates_by_platform ON candidates (platform);
CREATE INDEX candidates_by_duration ON candidates (duration);

-- A niche: a filter with a name. `address` is the filter as it stands in a page's address ("category=Music&within=7"),
-- so it means the same wherever it is opened, and relative times stay relative.
CREATE TABLE niches (
    niche_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL CHECK (name <> '' AND length(name) <= 80),
    address text NOT NULL CHECK (length(address) <= 4000),
    pinned boolean NOT NULL DEFAULT true,                      -- shown on Home
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, name)
);
ALTER TABLE niches ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON niches TO miles_viewer USING (user_id = current_user_id());
GRANT SELECT, INSERT, UPDATE, DELETE ON niches TO miles_viewer;
