-- What filtered lists are ordered by stands in the facts, too: a page of them is chosen from the columns in memory
-- (miles/selection.py), and only its own rows are read. Equal values go by the candidate's id, as everywhere: the index
-- tells the numbers in that order without the table.
ALTER TABLE facts
    ADD COLUMN acceleration double precision,                  -- views per day, each day
    ADD COLUMN engagement_rate double precision,
    ADD COLUMN lifetime_velocity double precision,             -- views per day
    DROP CONSTRAINT facts_candidate_id_key,
    ADD UNIQUE (candidate_id) INCLUDE (number);
UPDATE facts SET acceleration = candidates.acceleration, engagement_rate = candidates.engagement_rate,
    lifetime_velocity = candidates.lifetime_velocity
FROM candidates WHERE candidates.candidate_id = facts.candidate_id;
UPDATE rollups SET refreshed_at = clock_timestamp() WHERE name = 'facts';

-- The line of a card is measured with the rest (rollups.measure), not gathered from all months' snapshots whenever the
-- card is shown.
ALTER TABLE candidates ADD COLUMN growth bigint[];              -- views as last seen on each of its newest days, oldest first
UPDATE candidates SET growth = lines.growth
FROM (
    SELECT candidate_id, (array_agg(views ORDER BY day))[greatest(count(*) - 89, 1):] AS growth
    FROM (
        SELECT DISTINCT ON (candidate_id, day) candidate_id, (observed_at AT TIME ZONE 'UTC')::date AS day, views
        FROM snapshots WHERE views IS NOT NULL ORDER BY candidate_id, day, observed_at DESC
    ) AS days
    GROUP BY candidate_id HAVING count(*) > 1
) AS lines
WHERE lines.candidate_id = candidates.candidate_id;
