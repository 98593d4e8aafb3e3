-- Which model version is in force, since when and by whom; what each version foretold, and what came of it.

ALTER TABLE model_versions RENAME COLUMN first_used_at TO added_at;
ALTER TABLE model_versions
    ADD COLUMN state text NOT NULL DEFAULT 'retired' CHECK (state IN ('current', 'shadow', 'retired')),
    ADD COLUMN activated_at timestamptz,                       -- the last time; NULL: never in force
    ADD COLUMN activated_by text,
    ADD CHECK (state <> 'current' OR activated_at IS NOT NULL);
CREATE UNIQUE INDEX model_versions_in_force ON model_versions (state) WHERE state <> 'retired';

-- Read backwards it is a stack: a rollback undoes the latest change that is not undone yet.
CREATE TABLE model_activations (
    activation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_version text NOT NULL REFERENCES model_versions,
    replaced text REFERENCES model_versions,                   -- what was in force before, if that was another one
    how text NOT NULL CHECK (how IN ('first start', 'upgrade', 'activate', 'rollback')),
    by_whom text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    undone boolean NOT NULL DEFAULT false
);

-- The candidate's changed_at that a score was made from: as long as they are equal the score still stands, and
-- a version that comes back into force takes it over instead of scoring again. NULL: not known, so score again.
ALTER TABLE scores ADD COLUMN scored_change timestamptz;

-- What a version said of a candidate's next 3 days before they had passed: `scores` keeps only the latest score,
-- and calibration needs the one that was made first. At most one for each day of observation; the first stands.
-- "backtest" are scores made afterwards, from the counts of that time: never mixed with the others.
CREATE TABLE forecasts (
    candidate_id candidate_key NOT NULL REFERENCES candidates ON DELETE CASCADE,
    model_version text NOT NULL REFERENCES model_versions,
    basis text NOT NULL CHECK (basis IN ('foresight', 'backtest')),
    observed_day date NOT NULL,                                -- UTC
    observed_at timestamptz NOT NULL,                          -- of the counts that it was made from
    scored_at timestamptz NOT NULL,
    views tally NOT NULL,
    age_band text NOT NULL,
    viral_score probability NOT NULL,
    base_rate probability NOT NULL,
    threshold double precision NOT NULL,                       -- views per day from which the event has happened
    predicted_velocity double precision NOT NULL,              -- views per day, as all that follow
    velocity_low double precision NOT NULL,
    velocity_high double precision NOT NULL,
    outcome_at timestamptz,                                    -- of the snapshot that told; NULL: not told yet
    velocity double precision,                                 -- measured; at least 1
    PRIMARY KEY (candidate_id, model_version, basis, observed_day),
    CHECK ((outcome_at IS NULL) = (velocity IS NULL)),
    CHECK (basis <> 'foresight' OR outcome_at > scored_at)
);
CREATE INDEX forecasts_open ON forecasts (observed_at) WHERE outcome_at IS NULL;
CREATE INDEX forecasts_told ON forecasts (model_version, basis) WHERE outcome_at IS NOT NULL;

GRANT SELECT ON model_activations, forecasts TO miles_viewer, miles_operator, miles_worker;
GRANT INSERT, UPDATE, DELETE ON model_activations, forecasts TO miles_worker;
