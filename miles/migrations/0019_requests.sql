-- Requests for concepts are kept whole, so that they open again as they were and answer the same request for a day;
-- single concepts are starred or deleted; a draft remembers the concept that it began with. What a concept was scored
-- as can't be rewritten, like what a draft foretold.

ALTER TABLE queries
    ADD COLUMN platform text,                                  -- of the evidence; NULL: any
    ADD COLUMN language text,                                  -- of the evidence and the titles; NULL: any
    ADD COLUMN number integer CHECK (number > 0),              -- of concepts asked for; NULL: before this was kept
    ADD COLUMN made integer CHECK (made > 0),                  -- of concepts answered with
    ADD COLUMN model_version text,                             -- that scored them
    ADD COLUMN prompt_version text,                            -- of the language model's prompt; NULL offline
    ADD COLUMN answer jsonb,                                   -- evidence, note, usage; NULL: before this was kept
    ADD COLUMN fingerprint text;                               -- the same for requests with the same answer
CREATE INDEX queries_by_fingerprint ON queries (user_id, fingerprint, asked_at DESC) WHERE fingerprint IS NOT NULL;
-- for what is removed: videos in the evidence, those that back a concept, and the one that its title is nearest to
CREATE INDEX queries_by_video ON queries USING gin ((answer->'evidence'->'videos'));
CREATE INDEX concepts_by_video ON concepts USING gin (evidence);
CREATE INDEX concepts_by_nearest ON concepts ((concept #>> '{nearest,candidate_id}'));

ALTER TABLE concepts ADD COLUMN starred_at timestamptz;
CREATE INDEX concepts_starred ON concepts (starred_at DESC) WHERE starred_at IS NOT NULL;

REVOKE UPDATE ON queries, concepts FROM miles_viewer;
GRANT UPDATE (starred_at) ON concepts TO miles_viewer;

ALTER TABLE drafts
    ADD COLUMN concept_id bigint REFERENCES concepts ON DELETE SET NULL,
    ADD COLUMN origin text NOT NULL DEFAULT 'own' CHECK (origin IN ('own', 'offline', 'language model')), -- whose idea
    ADD CHECK (concept_id IS NULL OR origin <> 'own');
CREATE INDEX drafts_by_concept ON drafts (concept_id) WHERE concept_id IS NOT NULL;

-- A draft begins with a concept of its own user: what the policy of concepts lets them see.
DROP POLICY own ON drafts;
CREATE POLICY own ON drafts TO miles_viewer USING (user_id = current_user_id()) WITH CHECK (
    user_id = current_user_id() AND (
        concept_id IS NULL OR EXISTS (SELECT FROM concepts WHERE concepts.concept_id = drafts.concept_id)
    )
);

-- For the calibration, as before, and whose idea each draft was.
DROP FUNCTION draft_forecasts();
CREATE FUNCTION draft_forecasts() RETURNS TABLE (
    origin text, viral_score double precision, base_rate double precision, happened boolean, predicted double precision,
    low double precision, high double precision, measured double precision, channel bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT drafts.origin, drafts.viral_score, drafts.base_rate, told.happened, predicted_views, views_low, views_high,
        told.views, hashtext(coalesce(candidates.channel_key, told.candidate_id))::bigint
    FROM draft_outcomes AS told JOIN drafts USING (draft_id) JOIN candidates USING (candidate_id)
    WHERE told.foresight AND told.happened IS NOT NULL AND NOT candidates.sample
        AND drafts.viral_score IS NOT NULL AND drafts.base_rate IS NOT NULL AND views_high IS NOT NULL
    ORDER BY told.published_at DESC, draft_id;
$$;

DROP FUNCTION count_published_drafts();
CREATE FUNCTION count_published_drafts() RETURNS TABLE (
    origin text, linked bigint, told bigint, foretold bigint, judged bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT origin, count(*), count(one.draft_id), count(*) FILTER (WHERE foresight),
        count(*) FILTER (WHERE foresight AND happened IS NOT NULL)
    FROM drafts LEFT JOIN draft_outcomes AS one USING (draft_id) WHERE published_url IS NOT NULL
    GROUP BY origin;
$$;

-- A concept without some videos: not backed by them, nearest to none of them, and without the titles that its words quote
-- (as `wording.short` shortens them).
CREATE FUNCTION concept_without(concept jsonb, known jsonb, videos text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    video text;
    title text;
BEGIN
    FOREACH video IN ARRAY videos LOOP
        title := coalesce(known->video->>'title', CASE WHEN concept #>> '{nearest,candidate_id}' = video
            THEN concept #>> '{nearest,title}' END);
        IF title <> '' THEN
            title := '“' || CASE WHEN length(title) <= 70 THEN title ELSE rtrim(left(title, 69)) || '…' END || '”';
            concept := replace(concept::text, trim('"' FROM to_jsonb(title)::text), '“…”')::jsonb;
        END IF;
    END LOOP;
    IF concept #>> '{nearest,candidate_id}' = ANY (videos) THEN
        concept := concept || '{"nearest": null}';
    END IF;
    IF jsonb_typeof(concept->'evidence') = 'array' THEN
        concept := jsonb_set(concept, '{evidence}', (
            SELECT coalesce(jsonb_agg(one.key ORDER BY place), '[]')
            FROM jsonb_array_elements(concept->'evidence') WITH ORDINALITY AS one (key, place)
            WHERE one.key #>> '{}' <> ALL (videos)
        ));
    END IF;
    RETURN concept;
END $$;

-- An answer without some videos: null where one stood.
CREATE FUNCTION answer_without(answer jsonb, videos text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    video text;
BEGIN
    answer := jsonb_set(answer, '{evidence,videos}', (answer #> '{evidence,videos}') - videos);
    FOREACH video IN ARRAY videos LOOP
        answer := replace(answer::text, jsonb_build_object('video', video)::text, 'null')::jsonb;
    END LOOP;
    RETURN answer;
END $$;

-- As before, and what requests keep of a video that is removed.
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
        evidence = array(SELECT key FROM unnest(concepts.evidence) WITH ORDINALITY AS one (key, place) WHERE key <> ALL (videos) ORDER BY place),
        concept = concept_without(concept, queries.answer #> '{evidence,videos}', videos)
    FROM queries
    WHERE queries.query_id = concepts.query_id
        AND (concepts.evidence && videos OR concept #>> '{nearest,candidate_id}' = ANY (videos));
    UPDATE queries SET answer = answer_without(answer, videos) WHERE (answer->'evidence'->'videos') ?| videos;
$$;

REVOKE EXECUTE ON FUNCTION draft_forecasts(), count_published_drafts(), concept_without(jsonb, jsonb, text[]),
    answer_without(jsonb, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION draft_forecasts(), count_published_drafts() TO miles_worker;
