-- Why a job failed, or is waiting to be tried again: the queue itself keeps only that it did.

CREATE TABLE job_failures (
    job_id bigint PRIMARY KEY REFERENCES procrastinate_jobs ON DELETE CASCADE,
    reason text NOT NULL,                                      -- for people
    at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT ON job_failures TO miles_viewer, miles_operator, miles_worker;
GRANT INSERT, UPDATE, DELETE ON job_failures TO miles_worker;
GRANT DELETE ON job_failures TO miles_operator;
