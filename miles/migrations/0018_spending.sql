-- What a language model costs is written down for each request before it is sent: two at once can't both be the last one
-- that a day's limit allows. Until its answer has ended a request is pending, and counts as the most that it may come to;
-- so does one whose process died.
ALTER TABLE usage
    ADD COLUMN user_id text REFERENCES users ON DELETE SET NULL,
    ADD COLUMN model text,
    ADD COLUMN prompt_version text,
    ADD COLUMN estimated boolean NOT NULL DEFAULT false,       -- the server counted no tokens; they are reckoned
    ADD COLUMN pending boolean NOT NULL DEFAULT false;

-- Who asked is nobody else's business; what was asked for in all is everybody's.
REVOKE SELECT, INSERT ON usage FROM miles_viewer;
REVOKE SELECT ON usage FROM miles_operator, miles_worker;
GRANT SELECT (
    usage_id, at, service, requests, input_tokens, output_tokens, seconds, cost_usd, model, prompt_version, estimated,
    pending
) ON usage TO miles_viewer, miles_operator, miles_worker;

-- The language model's part of the ledger since midnight (UTC). A request without a price counts no money.
CREATE FUNCTION spent_today(OUT requests bigint, OUT tokens_in bigint, OUT tokens_out bigint, OUT usd numeric, OUT unpriced bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT coalesce(sum(requests), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
        coalesce(sum(cost_usd), 0), count(*) FILTER (WHERE cost_usd IS NULL)
    FROM usage WHERE service = 'openai' AND at >= date_trunc('day', now(), 'UTC');
$$;

-- Write a request down as pending at its most; NULL where that would go over a limit (NULL: there is none).
CREATE FUNCTION reserve_usage(
    model text, prompt_version text, tokens_in integer, tokens_out integer, usd numeric, most_tokens bigint, most_usd numeric
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    spent record;
    reserved bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('miles.reserve_usage')); -- one after the other
    SELECT * INTO spent FROM spent_today();
    IF spent.tokens_in + spent.tokens_out + tokens_in + tokens_out > most_tokens OR spent.usd + usd > most_usd THEN
        RETURN NULL;
    END IF;
    INSERT INTO users (user_id) SELECT current_user_id() WHERE current_user_id() IS NOT NULL ON CONFLICT DO NOTHING;
    INSERT INTO usage (service, requests, input_tokens, output_tokens, cost_usd, user_id, model, prompt_version, estimated, pending)
    VALUES ('openai', 1, tokens_in, tokens_out, usd, current_user_id(), model, prompt_version, true, true)
    RETURNING usage_id INTO reserved;
    RETURN reserved;
END $$;

-- What a pending request of this user came to.
CREATE FUNCTION settle_usage(
    reserved bigint, asked integer, tokens_in integer, tokens_out integer, took double precision, usd numeric, reckoned boolean
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE usage SET requests = asked, input_tokens = tokens_in, output_tokens = tokens_out, seconds = took,
        cost_usd = usd, estimated = reckoned, pending = false
    WHERE usage_id = reserved AND pending AND user_id IS NOT DISTINCT FROM current_user_id();
$$;

REVOKE EXECUTE ON FUNCTION spent_today(), reserve_usage(text, text, integer, integer, numeric, bigint, numeric),
    settle_usage(bigint, integer, integer, integer, double precision, numeric, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spent_today() TO miles_viewer, miles_operator, miles_worker;
GRANT EXECUTE ON FUNCTION reserve_usage(text, text, integer, integer, numeric, bigint, numeric),
    settle_usage(bigint, integer, integer, integer, double precision, numeric, boolean) TO miles_viewer;
