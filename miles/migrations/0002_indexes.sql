-- What the pages sort and filter by. A title is searched with full text ('simple': titles come in
-- every language, so no stemming).

CREATE INDEX candidates_by_score ON candidates (viral_score DESC NULLS LAST, candidate_id);
CREATE INDEX candidates_by_velocity ON candidates (velocity DESC NULLS LAST, candidate_id);
CREATE INDEX candidates_by_outlier ON candidates (outlier_multiple DESC NULLS LAST, candidate_id);
CREATE INDEX candidates_by_views ON candidates (views DESC NULLS LAST, candidate_id);
CREATE INDEX candidates_by_date ON candidates (published_at DESC NULLS LAST, candidate_id);
CREATE INDEX candidates_by_channel ON candidates (channel_key, published_at DESC);
CREATE INDEX candidates_by_title ON candidates USING gin (to_tsvector('simple', title));
CREATE INDEX candidates_to_score ON candidates (channel_key, candidate_id)
    WHERE scored_change IS DISTINCT FROM changed_at;
CREATE INDEX candidates_to_measure ON candidates (channel_key)
    WHERE measured_change IS DISTINCT FROM changed_at;
CREATE INDEX candidates_sample ON candidates (candidate_id) WHERE sample;
CREATE INDEX scores_by_version ON scores (model_version);
CREATE INDEX collections_by_date ON collections (asked_at DESC);
CREATE INDEX collection_items_by_candidate ON collection_items (candidate_id);
CREATE INDEX queries_by_user ON queries (user_id, asked_at DESC);
CREATE INDEX drafts_by_user ON drafts (user_id, created_at DESC);
CREATE INDEX uploads_by_user ON uploads (user_id);
CREATE INDEX uploads_by_draft ON uploads (draft_id);
CREATE INDEX usage_by_date ON usage (at DESC);
