-- Clips that people upload to be looked at before they are published. A clip is its owner's alone; the worker that
-- examines it sees all of them, and the database lets an operator's transaction touch those of its user.
CREATE TABLE clips (
    clip_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),   -- its key in the storage
    bytes bigint NOT NULL CHECK (bytes > 0),
    name text NOT NULL,                                        -- of the file, as it was uploaded
    content_type text NOT NULL,                                -- told from its first bytes
    title text NOT NULL DEFAULT '',                            -- judged with each frame; may be unknown yet
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    progress double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    reason text,                                               -- why it failed, or is tried again
    error_kind text,                                           -- ClipRefused's kind; NULL for other failures
    probe jsonb,                                               -- clip_facts.Probe
    base_rate probability,                                     -- of the scores of its frames
    model_version text,
    note text,                                                 -- why its frames have no score
    asked_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    UNIQUE (user_id, sha256)                                   -- the same file again is the same clip
);
CREATE INDEX clips_by_object ON clips (sha256);

CREATE TABLE clip_frames (
    clip_id bigint NOT NULL REFERENCES clips ON DELETE CASCADE,
    at_seconds double precision NOT NULL CHECK (at_seconds >= 0),
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),   -- a JPEG in the storage
    width integer NOT NULL,
    height integer NOT NULL,
    brightness double precision NOT NULL,                      -- 0..1
    sharpness double precision NOT NULL,                       -- against the middle of the clip's best frames
    viral_score probability,                                   -- as a thumbnail, with the title that was known
    PRIMARY KEY (clip_id, at_seconds)
);
CREATE INDEX clip_frames_by_object ON clip_frames (sha256);

GRANT SELECT, INSERT, UPDATE, DELETE ON clips, clip_frames TO miles_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON clips TO miles_viewer, miles_operator;
GRANT SELECT ON clip_frames TO miles_viewer, miles_operator;
GRANT INSERT ON users TO miles_operator;                       -- whoever uploads first has no row there yet
GRANT EXECUTE ON FUNCTION current_user_id() TO miles_operator;
GRANT EXECUTE ON FUNCTION pin_objects(text[]), unpin_objects(bigint[]) TO miles_operator;

ALTER TABLE clips ENABLE ROW LEVEL SECURITY;
ALTER TABLE clip_frames ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON clips TO miles_viewer, miles_operator USING (user_id = current_user_id());
CREATE POLICY work ON clips TO miles_worker USING (true);
CREATE POLICY own ON clip_frames TO miles_viewer, miles_operator USING (
    EXISTS (SELECT FROM clips WHERE clips.clip_id = clip_frames.clip_id)
);
CREATE POLICY work ON clip_frames TO miles_worker USING (true);
CREATE POLICY first ON users FOR INSERT TO miles_operator WITH CHECK (user_id = current_user_id());

-- Clips and their frames are needed too.
CREATE OR REPLACE FUNCTION unused_objects(keys text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT key FROM unnest(keys) AS key
    WHERE NOT EXISTS (SELECT FROM thumbnails WHERE thumbnails.sha256 = key)
        AND NOT EXISTS (SELECT FROM drafts WHERE drafts.thumbnail_sha256 = key)
        AND NOT EXISTS (SELECT FROM uploads WHERE uploads.sha256 = key)
        AND NOT EXISTS (SELECT FROM clips WHERE clips.sha256 = key)
        AND NOT EXISTS (SELECT FROM clip_frames WHERE clip_frames.sha256 = key)
        AND NOT EXISTS (
            SELECT FROM object_pins WHERE object_pins.sha256 = key AND pinned_at > now() - interval '1 day'
        );
$$;
