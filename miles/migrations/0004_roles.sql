-- Who may do what. The dashboard reads as miles_viewer, acts for an operator as miles_operator;
-- workers and the command line write as miles_worker. Roles belong to the whole server, so another
-- database of it may have made them already, or be making them now.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['miles_viewer', 'miles_operator', 'miles_worker'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- another database of this server was faster
        END;
        -- SET ROLE needs membership, since version 16 with the right to set; a superuser has it already.
        -- Granting it again would only wait for whoever else is granting.
        IF NOT pg_has_role(current_user, role_name,
            CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END IF;
    END LOOP;
END $$;

DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO miles_viewer, miles_operator, miles_worker', current_schema());
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO miles_viewer, miles_operator, miles_worker', current_schema());
    EXECUTE format('REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %I TO miles_operator, miles_worker', current_schema());
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO miles_operator, miles_worker', current_schema());
END $$;

-- A month's partition between made and attached is a merge's own.
REVOKE EXECUTE ON FUNCTION new_snapshot_partition(timestamptz), attach_snapshot_partition(timestamptz)
FROM miles_operator;

-- A worker writes everything that is shared, and the queue.
GRANT INSERT, UPDATE, DELETE ON
    channels, candidates, snapshots, scores, thumbnails, collections, collection_items, watchlist,
    model_versions, usage, daily_counts, title_patterns, rollups,
    procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers, procrastinate_workers
TO miles_worker;

-- An operator asks for work and decides about it; the facts themselves are the worker's.
GRANT INSERT, UPDATE ON collections TO miles_operator;
GRANT INSERT, UPDATE, DELETE ON watchlist TO miles_operator;
GRANT INSERT, UPDATE, DELETE ON
    procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers
TO miles_operator;

-- A viewer writes only what is theirs, and the ledger of what their requests cost.
GRANT INSERT ON users, usage TO miles_viewer;
GRANT INSERT, UPDATE, DELETE ON queries, concepts, drafts, uploads TO miles_viewer;
REVOKE SELECT ON users, queries, concepts, drafts, uploads FROM miles_operator, miles_worker;

-- Who is asking: set for each transaction by Miles.
CREATE FUNCTION current_user_id() RETURNS text LANGUAGE sql STABLE
    RETURN nullif(current_setting('miles.user_id', true), '');
GRANT EXECUTE ON FUNCTION current_user_id() TO miles_viewer;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE queries ENABLE ROW LEVEL SECURITY;
ALTER TABLE concepts ENABLE ROW LEVEL SECURITY;
ALTER TABLE drafts ENABLE ROW LEVEL SECURITY;
ALTER TABLE uploads ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON users TO miles_viewer USING (user_id = current_user_id());
CREATE POLICY own ON queries TO miles_viewer USING (user_id = current_user_id());
CREATE POLICY own ON drafts TO miles_viewer USING (user_id = current_user_id());
CREATE POLICY own ON uploads TO miles_viewer USING (user_id = current_user_id());
CREATE POLICY own ON concepts TO miles_viewer USING (
    EXISTS (SELECT FROM queries WHERE queries.query_id = concepts.query_id)
);
