-- The latest forecasts whose outcome is known, without sorting all of them.

DROP INDEX forecasts_told;
CREATE INDEX forecasts_told ON forecasts (model_version, basis, observed_at DESC, candidate_id)
    WHERE outcome_at IS NOT NULL;
