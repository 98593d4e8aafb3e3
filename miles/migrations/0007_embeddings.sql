-- The vectors of titles, for "similar to this". They need pgvector 0.8 or newer, which a server may not have or
-- not let us create. Then there is no such table, everything else works, and every start tries again (always.sql).

CREATE FUNCTION ensure_title_embeddings() RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    routine regprocedure;
BEGIN
    IF to_regclass('title_embeddings') IS NOT NULL THEN
        RETURN true;
    END IF;
    BEGIN
        CREATE EXTENSION IF NOT EXISTS vector;
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_file THEN
        RETURN false;
    END;
    -- 0.8 is the first that goes on looking where a filter leaves out what an index found.
    IF to_regtype('halfvec') IS NULL OR EXISTS (
        SELECT FROM pg_extension
        WHERE extname = 'vector' AND string_to_array(substring(extversion FROM '^\d+\.\d+'), '.')::int[] < '{0,8}'
    ) THEN
        RETURN false;
    END IF;
    -- Where the extension was there before Miles, 0004_roles has taken its functions from everyone.
    FOR routine IN
        SELECT objid::regprocedure FROM pg_depend
        WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e'
            AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vector')
            AND NOT has_function_privilege('miles_viewer', objid, 'EXECUTE')
    LOOP
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO miles_viewer, miles_operator, miles_worker', routine);
    END LOOP;
    CREATE TABLE title_embeddings (
        candidate_id candidate_key PRIMARY KEY REFERENCES candidates ON DELETE CASCADE,
        encoder text NOT NULL,                                 -- fingerprint of what made the vector
        title_md5 uuid NOT NULL,                               -- of the title that it was made of
        embedding halfvec NOT NULL                             -- of length 1: the inner product of two is their likeness
    );
    GRANT SELECT ON title_embeddings TO miles_viewer, miles_operator, miles_worker;
    GRANT INSERT, UPDATE, DELETE ON title_embeddings TO miles_worker;
    RETURN true;
END $$;
REVOKE EXECUTE ON FUNCTION ensure_title_embeddings() FROM PUBLIC;

-- Makes the index of one encoder's vectors, in the place of the one there is. A worker may not create indexes, so
-- this runs as the owner. Readers go on meanwhile; who writes vectors waits (4 s for 150,000).
CREATE FUNCTION index_title_embeddings(encoder text, width integer, lists integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET maintenance_work_mem = '256MB' AS $$
BEGIN
    EXECUTE format(
        'CREATE INDEX title_embeddings_next ON title_embeddings'
        ' USING ivfflat ((embedding::halfvec(%s)) halfvec_ip_ops) WITH (lists = %s) WHERE encoder = %L',
        width, lists, encoder
    );
    DROP INDEX IF EXISTS title_embeddings_near;
    ALTER INDEX title_embeddings_next RENAME TO title_embeddings_near;
    ANALYZE title_embeddings;
END $$;
REVOKE EXECUTE ON FUNCTION index_title_embeddings(text, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION index_title_embeddings(text, integer, integer) TO miles_worker;
