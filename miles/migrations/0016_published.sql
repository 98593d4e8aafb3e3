-- Drafts with a name, with all that the model said of them, linked to the video that became of them; and what came
-- of it. What a draft foretold can't be rewritten afterwards: a viewer may change words and the link, nothing else.

ALTER TABLE drafts
    ADD COLUMN name text CHECK (name <> ''),
    ADD COLUMN category text,
    ADD COLUMN duration real CHECK (duration >= 0),            -- seconds
    ADD COLUMN language text,
    ADD COLUMN base_rate probability,
    ADD COLUMN predicted_views double precision CHECK (predicted_views >= 0), -- in the first 24 hours
    ADD COLUMN views_low double precision CHECK (views_low >= 0),
    ADD COLUMN views_high double precision,
    ADD COLUMN published_url text CHECK (published_url <> ''),
    ADD COLUMN published_key candidate_key,                    -- where it is known; else the collection tells
    ADD COLUMN published_by bigint REFERENCES collections ON DELETE SET NULL, -- the collection that looks at it
    ADD COLUMN linked_at timestamptz,
    ADD CHECK (views_low <= views_high),
    ADD CHECK ((published_url IS NULL) = (linked_at IS NULL));
CREATE INDEX drafts_published ON drafts (draft_id) WHERE published_url IS NOT NULL;

REVOKE UPDATE ON drafts FROM miles_viewer;
GRANT UPDATE (title, name, published_url, published_key, published_by, linked_at) ON drafts TO miles_viewer;

-- What a published draft came to in its first day. A worker writes it, through the functions below; its owner reads it.
CREATE TABLE draft_outcomes (
    draft_id bigint PRIMARY KEY REFERENCES drafts ON DELETE CASCADE,
    candidate_id candidate_key NOT NULL REFERENCES candidates ON DELETE CASCADE,
    published_at timestamptz NOT NULL,
    observed_at timestamptz NOT NULL,                          -- of the look that told
    views double precision NOT NULL CHECK (views >= 0),        -- at 24 hours
    multiple double precision CHECK (multiple >= 0),           -- over the channel's usual at publication; NULL: none known
    happened boolean,                                          -- the event of drafts
    foresight boolean NOT NULL,                                -- it was saved before it was published
    CHECK (happened IS NULL OR multiple IS NOT NULL)
);
CREATE INDEX draft_outcomes_by_video ON draft_outcomes (candidate_id);

ALTER TABLE draft_outcomes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON draft_outcomes TO miles_viewer USING (
    EXISTS (SELECT FROM drafts WHERE drafts.draft_id = draft_outcomes.draft_id)
);
GRANT SELECT ON draft_outcomes TO miles_viewer;

-- Another link is another video: what came of the first says nothing of it. Runs as the owner of the tables, since
-- a viewer may not delete outcomes.
CREATE FUNCTION forget_outcome() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM draft_outcomes WHERE draft_id = NEW.draft_id;
    RETURN NULL;
END $$;
CREATE TRIGGER linked_anew AFTER UPDATE OF published_url ON drafts
FOR EACH ROW WHEN (OLD.published_url IS DISTINCT FROM NEW.published_url) EXECUTE FUNCTION forget_outcome();

-- A worker reads nobody's drafts: of those that were published it is told the video and when it was foretold.
CREATE FUNCTION drafts_to_tell() RETURNS TABLE (draft_id bigint, candidate_id text, model_version text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT drafts.draft_id, video.candidate_id, drafts.model_version, drafts.created_at
    FROM drafts CROSS JOIN LATERAL (
        -- an address may hide its video's key until it was looked at; a playlist is no video
        SELECT coalesce(published_key, (
            SELECT min(item.candidate_id) FROM collection_items AS item
            WHERE item.collection_id = published_by HAVING count(*) = 1
        )) AS candidate_id
    ) AS video
    WHERE published_url IS NOT NULL
        AND linked_at > now() - interval '60 days'  -- its first day was looked at long ago, or never will be
        AND EXISTS (SELECT FROM candidates WHERE candidates.candidate_id = video.candidate_id AND published_at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM draft_outcomes WHERE draft_outcomes.draft_id = drafts.draft_id);
$$;

CREATE FUNCTION tell_draft(
    draft bigint, video text, published timestamptz, observed timestamptz, views double precision,
    multiple double precision, happened boolean
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO draft_outcomes
    SELECT draft_id, video, published, observed, views, multiple, happened, created_at < published
    FROM drafts WHERE draft_id = draft AND published_url IS NOT NULL FOR KEY SHARE
    ON CONFLICT DO NOTHING;
$$;

-- For the calibration: promises and outcomes without whose they are or of what.
CREATE FUNCTION draft_forecasts() RETURNS TABLE (
    viral_score double precision, base_rate double precision, happened boolean, predicted double precision,
    low double precision, high double precision, measured double precision, channel bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT drafts.viral_score, drafts.base_rate, told.happened, predicted_views, views_low, views_high, told.views,
        hashtext(coalesce(candidates.channel_key, told.candidate_id))::bigint
    FROM draft_outcomes AS told JOIN drafts USING (draft_id) JOIN candidates USING (candidate_id)
    WHERE told.foresight AND told.happened IS NOT NULL AND NOT candidates.sample
        AND drafts.viral_score IS NOT NULL AND drafts.base_rate IS NOT NULL AND views_high IS NOT NULL
    ORDER BY told.published_at DESC, draft_id;
$$;

CREATE FUNCTION count_published_drafts() RETURNS TABLE (linked bigint, told bigint, foretold bigint, judged bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT count(*), count(one.draft_id), count(*) FILTER (WHERE foresight),
        count(*) FILTER (WHERE foresight AND happened IS NOT NULL)
    FROM drafts LEFT JOIN draft_outcomes AS one USING (draft_id) WHERE published_url IS NOT NULL;
$$;

-- As before, and the link of a draft to a video that is removed.
CREATE OR REPLACE FUNCTION forget_in_drafts(videos text[], channel text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE drafts SET channel_key = NULL WHERE channel_key = channel;
    UPDATE drafts SET published_url = NULL, published_key = NULL, published_by = NULL, linked_at = NULL
    WHERE published_url IS NOT NULL AND (
        published_key = ANY (videos)
        OR published_url IN (SELECT url FROM candidates WHERE candidate_id = ANY (videos))
        OR draft_id IN (SELECT draft_id FROM draft_outcomes WHERE candidate_id = ANY (videos))
    );
    UPDATE concepts SET
        evidence = array(SELECT key FROM unnest(evidence) WITH ORDINALITY AS one (key, place) WHERE key <> ALL (videos) ORDER BY place),
        concept = CASE WHEN jsonb_typeof(concept->'evidence') = 'array' THEN jsonb_set(concept, '{evidence}', (
            SELECT coalesce(jsonb_agg(one.key ORDER BY place), '[]')
            FROM jsonb_array_elements(concept->'evidence') WITH ORDINALITY AS one (key, place)
            WHERE one.key #>> '{}' <> ALL (videos)
        )) ELSE concept END
    WHERE evidence && videos;
$$;

REVOKE EXECUTE ON FUNCTION forget_outcome(), drafts_to_tell(), draft_forecasts(), count_published_drafts(),
    tell_draft(bigint, text, timestamptz, timestamptz, double precision, double precision, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drafts_to_tell(), draft_forecasts(), count_published_drafts(),
    tell_draft(bigint, text, timestamptz, timestamptz, double precision, double precision, boolean) TO miles_worker;
