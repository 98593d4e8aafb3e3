-- Keeping and forgetting: what lies in the storage and who needs it; pictures that are tried again; what was
-- removed on request and is never collected again.

-- Every object in the storage, written down before it is put there. An object may be deleted when no row names it
-- and nobody has pinned it; whoever deletes it locks its row, and whoever puts it pins it first, which waits for
-- that lock. So no object goes that somebody is just about to name.
CREATE TABLE objects (
    sha256 text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'), -- its key in the storage
    kept_at timestamptz NOT NULL DEFAULT now()                 -- when it was last put there
);

-- Held from before an object is put into the storage until the row that names it is committed. One that is a day
-- old belongs to a process that died.
CREATE TABLE object_pins (
    pin_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 text NOT NULL REFERENCES objects ON DELETE CASCADE,
    pinned_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX object_pins_by_object ON object_pins (sha256);

INSERT INTO objects (sha256)
SELECT sha256 FROM thumbnails WHERE sha256 IS NOT NULL
UNION SELECT thumbnail_sha256 FROM drafts WHERE thumbnail_sha256 ~ '^[0-9a-f]{64}$'
UNION SELECT sha256 FROM uploads;

CREATE INDEX thumbnails_by_object ON thumbnails (sha256);
CREATE INDEX drafts_by_object ON drafts (thumbnail_sha256);
CREATE INDEX uploads_by_object ON uploads (sha256);

-- Pictures that failed for a reason that may pass are tried again, a few times.
ALTER TABLE thumbnails
    ADD COLUMN error_kind text,                                -- ImageRefused's kind, or "storage"
    ADD COLUMN attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0); -- that failed, in a row

-- In the order of the keys, so that two who pin at once never wait for each other.
CREATE FUNCTION pin_objects(keys text[]) RETURNS TABLE (pin bigint, object text)
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO objects (sha256) SELECT DISTINCT key FROM unnest(keys) AS key ORDER BY key
    ON CONFLICT (sha256) DO UPDATE SET kept_at = now();
    INSERT INTO object_pins (sha256) SELECT DISTINCT key FROM unnest(keys) AS key ORDER BY key RETURNING pin_id, sha256;
$$;

CREATE FUNCTION unpin_objects(pins bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM object_pins WHERE pin_id = ANY(pins);
$$;

-- Which of these objects nobody names and nobody is about to name. Drafts are read here, which a worker may not.
CREATE FUNCTION unused_objects(keys text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT key FROM unnest(keys) AS key
    WHERE NOT EXISTS (SELECT FROM thumbnails WHERE thumbnails.sha256 = key)
        AND NOT EXISTS (SELECT FROM drafts WHERE drafts.thumbnail_sha256 = key)
        AND NOT EXISTS (SELECT FROM uploads WHERE uploads.sha256 = key)
        AND NOT EXISTS (
            SELECT FROM object_pins WHERE object_pins.sha256 = key AND pinned_at > now() - interval '1 day'
        );
$$;

-- What was removed on request. A row is written before anything is deleted, and stays: no collection, import or
-- listing brings it in again. `names` are other ways in which it may be asked for: addresses, a handle.
CREATE TABLE removed (
    kind text NOT NULL CHECK (kind IN ('video', 'channel')),
    key candidate_key NOT NULL,
    names text[] NOT NULL DEFAULT '{}',
    reason text,
    removed_by text NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,                                    -- when the last of it was deleted; NULL: not yet
    PRIMARY KEY (kind, key)
);
CREATE INDEX removed_by_name ON removed USING gin (names);

-- What drafts and saved concepts say of videos and channels that are removed; a worker may not read those tables.
CREATE FUNCTION forget_in_drafts(videos text[], channel text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE drafts SET channel_key = NULL WHERE channel_key = channel;
    UPDATE concepts SET
        evidence = array(SELECT key FROM unnest(evidence) WITH ORDINALITY AS one (key, place) WHERE key <> ALL (videos) ORDER BY place),
        concept = CASE WHEN jsonb_typeof(concept->'evidence') = 'array' THEN jsonb_set(concept, '{evidence}', (
            SELECT coalesce(jsonb_agg(one.key ORDER BY place), '[]')
            FROM jsonb_array_elements(concept->'evidence') WITH ORDINALITY AS one (key, place)
            WHERE one.key #>> '{}' <> ALL (videos)
        )) ELSE concept END
    WHERE evidence && videos;
$$;

REVOKE EXECUTE ON FUNCTION pin_objects(text[]), unpin_objects(bigint[]), unused_objects(text[]),
    forget_in_drafts(text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pin_objects(text[]), unpin_objects(bigint[]) TO miles_viewer, miles_worker;
GRANT EXECUTE ON FUNCTION unused_objects(text[]), forget_in_drafts(text[], text) TO miles_worker;
GRANT SELECT ON objects, object_pins TO miles_viewer, miles_operator, miles_worker;
GRANT UPDATE, DELETE ON objects, object_pins TO miles_worker;
GRANT SELECT ON removed TO miles_viewer, miles_operator, miles_worker;
GRANT INSERT, UPDATE, DELETE ON removed TO miles_worker;
