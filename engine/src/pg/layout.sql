-- The engine's own tables, version 1. `{schema}` stands for the quoted name of the schema.
-- Never edited once released: a later layout is a new file that starts from this one.

CREATE TABLE {schema}.identity (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    uuid       uuid NOT NULL DEFAULT gen_random_uuid(),
    layout     integer NOT NULL,
    engine     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.identity IS 'Which database this is, and which version of migengine''s tables it holds';

CREATE TABLE {schema}.lease (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch         bigint NOT NULL DEFAULT 0,
    run_id        text,
    holder        text,
    pid           integer,
    backend_start timestamptz,
    taken_at      timestamptz,
    origin        text
);
COMMENT ON TABLE {schema}.lease IS 'Who may change the schema: every step checks the epoch here inside its own transaction';

CREATE TABLE {schema}.run (
    run_id      text PRIMARY KEY,
    kind        text NOT NULL,
    state       text NOT NULL,
    rest        text,
    rest_step   text,
    rest_message text,
    epoch       bigint NOT NULL,
    plan_hash   bytea NOT NULL,
    engine      text NOT NULL,
    actor       text NOT NULL,
    records     bigint NOT NULL DEFAULT 0,
    head        bytea,
    started_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
COMMENT ON TABLE {schema}.run IS 'Every run, with the length and the head of its journal';

CREATE TABLE {schema}.record (
    run_id text NOT NULL,
    seq    bigint NOT NULL,
    kind   text NOT NULL,
    step   text,
    at     timestamptz NOT NULL,
    bytes  bytea NOT NULL,
    PRIMARY KEY (run_id, seq)
);
COMMENT ON TABLE {schema}.record IS 'Append-only mirror of the runs'' journals, byte for byte';

-- No CHECK on the state: the server reads the expression of a constraint anew with every statement, and whoever reads the history
-- refuses a state that is not begun, applied or undoing.
CREATE TABLE {schema}.history (
    id          text PRIMARY KEY,
    position    bigint GENERATED ALWAYS AS IDENTITY,
    state       text NOT NULL,
    run_id      text NOT NULL,
    attempt     integer NOT NULL,
    epoch       bigint NOT NULL,
    content     bytea NOT NULL,
    tokens      bytea NOT NULL,
    requires    text[] NOT NULL,
    header      text NOT NULL,
    up_sql      text NOT NULL,
    down_sql    text,
    verify_sql  text,
    parts_done  integer NOT NULL DEFAULT 0,
    part_tokens bytea[] NOT NULL DEFAULT '{}',
    part_before text,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    duration_us bigint
);
COMMENT ON TABLE {schema}.history IS 'What is in effect: one row a migration, written in the migration''s own transaction';

-- What stands here is gone, or in the history, at the end of the transaction that wrote it. Logged all the same: a table that is
-- not waits for the disk four times when it is made, at everybody's first run, and long scripts are rare.
CREATE TABLE {schema}.piece (
    id     text NOT NULL,
    number integer NOT NULL,
    text   text NOT NULL,
    PRIMARY KEY (id, number)
);
COMMENT ON TABLE {schema}.piece IS 'Pieces of a long script on their way into the history; always empty to anybody else';

CREATE TABLE {schema}.reversed (
    LIKE {schema}.history,
    reversed_by text NOT NULL,
    reversed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE {schema}.reversed ALTER COLUMN position DROP NOT NULL;
COMMENT ON TABLE {schema}.reversed IS 'Append-only: history rows of migrations that were reversed';

CREATE TABLE {schema}.protection (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    marked boolean NOT NULL,
    actor  text NOT NULL,
    role   text NOT NULL DEFAULT session_user,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.protection IS 'Append-only: who marked this database as protected, or took the mark off; the last row counts';

CREATE TABLE {schema}.progress (
    id         text NOT NULL,
    undoing    boolean NOT NULL,
    part       integer NOT NULL,
    run_id     text NOT NULL,
    epoch      bigint NOT NULL,
    relation   text NOT NULL,
    key        text[] NOT NULL,
    cursor     text[],
    pass       integer NOT NULL DEFAULT 1,
    pass_rows  bigint NOT NULL DEFAULT 0,
    pass_keys  bigint NOT NULL DEFAULT 0,
    finished   boolean NOT NULL DEFAULT false,
    rows       bigint NOT NULL DEFAULT 0,
    batches    bigint NOT NULL DEFAULT 0,
    size       integer NOT NULL,
    worked_us  bigint NOT NULL DEFAULT 0,
    estimate   bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, undoing, part)
);
COMMENT ON TABLE {schema}.progress IS 'How far statements that run in pieces have come, written in each piece''s own transaction';

CREATE TABLE {schema}.pause (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    by     text NOT NULL,
    reason text,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.pause IS 'A row here keeps every runner from beginning another piece';

-- Through the index: this function is planned once a session, when the history may be empty, and a plan that reads the whole
-- of it would cost more with every step.
CREATE FUNCTION {schema}.fence(my_epoch bigint, needs text[], gone text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    missing text;
BEGIN
    PERFORM 1 FROM {schema}.lease WHERE one AND epoch = my_epoch FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'ME001',
            MESSAGE = 'another migengine has taken over: epoch ' || my_epoch || ' is no longer the current one';
    END IF;
    -- One look a name: a query over the whole array is planned anew at each call, which took ten times as long.
    FOREACH missing IN ARRAY needs LOOP
        PERFORM 1 FROM {schema}.history WHERE id = missing AND state = 'applied';
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'ME002', MESSAGE = 'the step before, ' || missing || ', did not take effect';
        END IF;
    END LOOP;
    FOREACH missing IN ARRAY gone LOOP
        PERFORM 1 FROM {schema}.history WHERE id = missing;
        IF FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'ME002', MESSAGE = 'the step before, ' || missing || ', was not reversed';
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION {schema}.fence IS 'Refuses a step whose runner was superseded, or whose predecessors did not take effect';

-- Resolves names as the script will, hence without a search_path of its own. What cannot be locked is left to the script's
-- statements, which say what is wrong with it.
CREATE FUNCTION {schema}.lock_first(names text[], modes text[], trees boolean[]) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT c.oid::pg_catalog.regclass AS relation, u.mode, CASE WHEN u.tree THEN '' ELSE 'ONLY ' END AS alone
        FROM ROWS FROM (pg_catalog.unnest(names), pg_catalog.unnest(modes), pg_catalog.unnest(trees)) AS u(name, mode, tree)
        JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(u.name)::pg_catalog.oid
        WHERE c.relkind IN ('r', 'p') ORDER BY c.oid
    LOOP
        EXECUTE pg_catalog.format('LOCK TABLE %s%s IN %s MODE', one.alone, one.relation, one.mode);
    END LOOP;
EXCEPTION WHEN insufficient_privilege OR undefined_table OR wrong_object_type THEN
    NULL;
END
$$;
COMMENT ON FUNCTION {schema}.lock_first IS 'Takes the locks of a step on several tables before its statements, in the order of their OIDs';

CREATE FUNCTION {schema}.size_of(names text[]) RETURNS bigint
    LANGUAGE plpgsql SET lock_timeout = '20ms' AS $$
BEGIN
    RETURN (SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(pg_catalog.to_regclass(name)))::bigint
        FROM pg_catalog.unnest(names) AS name);
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION {schema}.size_of IS 'Bytes of tables with their indexes; nothing where they cannot be told at once';

CREATE FUNCTION {schema}.advance(what text, back boolean, which integer, run text, my_epoch bigint, was text[], in_pass integer,
        reached text[], its_keys bigint, its_rows bigint, next_size integer, took_us bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE {schema}.progress SET cursor = reached, rows = rows + its_rows, pass_rows = pass_rows + its_rows,
        pass_keys = pass_keys + its_keys, batches = batches + 1, size = next_size, worked_us = worked_us + took_us,
        run_id = run, epoch = my_epoch, updated_at = clock_timestamp()
    WHERE id = what AND undoing = back AND part = which AND NOT finished AND cursor IS NOT DISTINCT FROM was AND pass = in_pass;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'ME444',
            MESSAGE = 'the place that this statement had reached is not in the database as it was left';
    END IF;
END
$$;
COMMENT ON FUNCTION {schema}.advance IS 'Moves the place of a statement in pieces on, and refuses when it is not where the piece began';

CREATE TABLE {schema}.audit (
    seq         bigint PRIMARY KEY,
    at          timestamptz NOT NULL,
    action      text NOT NULL,
    run_id      text,
    migration   text,
    epoch       bigint NOT NULL,
    role        text NOT NULL,
    address     text,
    application text,
    origin      text,
    content     bytea,
    tokens      bytea,
    sql         text,
    detail      text,
    hash        bytea NOT NULL
);
COMMENT ON TABLE {schema}.audit IS 'Append-only and hash-chained: who did what to the schema, when, and how it ended';

CREATE TABLE {schema}.audit_head (
    one  boolean PRIMARY KEY DEFAULT true,
    seq  bigint NOT NULL DEFAULT 0,
    hash bytea NOT NULL DEFAULT sha256('migengine audit 1')
);
COMMENT ON TABLE {schema}.audit_head IS 'The last entry of the audit log, so that entries missing at its end are noticed';

-- The hash of an entry covers the hash of the entry before it and every column, these as one JSON array; engine/src/audit.rs
-- computes the same. One hash, because each takes as long to begin as a kilobyte of text; and one statement, because beginning
-- another one costs more than what it does. Planned once a session: of tables that were never looked at the planner believes that
-- they have hundreds of rows, and takes planning anew each time, with the values as constants, for the cheaper way.
CREATE FUNCTION {schema}.audit_add(what text, run text, id text, content bytea, tokens bytea, sql text, detail text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now timestamptz := clock_timestamp();
    address text := host(inet_client_addr());
    application text := current_setting('application_name');
BEGIN
    WITH headed AS (
        UPDATE {schema}.audit_head h SET seq = h.seq + 1, hash = sha256(h.hash || convert_to(json_build_array(h.seq + 1,
            (extract(epoch FROM now) * 1000000)::bigint, what, coalesce(run, l.run_id), id, l.epoch, session_user, address,
            application, l.origin, encode(content, 'hex'), encode(tokens, 'hex'), sql, detail)::text, 'UTF8'))
        FROM {schema}.lease l WHERE h.one AND l.one RETURNING h.seq, h.hash, l.run_id, l.epoch, l.origin)
    INSERT INTO {schema}.audit SELECT h.seq, now, what, coalesce(run, h.run_id), id, h.epoch, session_user, address, application,
        h.origin, content, tokens, sql, detail, h.hash FROM headed h;
    IF NOT FOUND THEN
        PERFORM FROM {schema}.audit_head;
        IF FOUND THEN
            RAISE EXCEPTION 'the lease of migengine is gone';
        END IF;
        -- Somebody deleted it. The log goes on behind its last entry, and says so; what is missing at its end only the
        -- journals still know.
        INSERT INTO {schema}.audit_head (seq, hash) SELECT a.seq, a.hash FROM {schema}.audit a ORDER BY a.seq DESC LIMIT 1
            ON CONFLICT DO NOTHING;
        INSERT INTO {schema}.audit_head DEFAULT VALUES ON CONFLICT DO NOTHING;
        PERFORM {schema}.audit_add('head_lost', NULL, NULL, NULL, NULL, NULL, 'somebody deleted the head of this log');
        PERFORM {schema}.audit_add(what, run, id, content, tokens, sql, detail);
    END IF;
END
$$;
COMMENT ON FUNCTION {schema}.audit_add IS 'Appends an entry to the audit log';

-- The history cannot change without an entry, whoever changes it on this server. (Rows that logical replication brings fire no
-- trigger for a statement; a copy of the history without its log is not a history.)
CREATE FUNCTION {schema}.audit_history() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM {schema}.audit_add('edited', NULL, NULL, NULL, NULL, NULL, 'the history was emptied');
    ELSIF TG_OP = 'DELETE' THEN
        what := CASE OLD.state WHEN 'begun' THEN 'withdrawn' ELSE 'reversed' END;
        PERFORM {schema}.audit_add(what, NULL, OLD.id, OLD.content, OLD.tokens, OLD.down_sql, NULL);
    ELSIF NEW.state IS DISTINCT FROM OLD.state OR NEW.state = 'begun' AND NEW.content IS DISTINCT FROM OLD.content THEN
        PERFORM {schema}.audit_add(NEW.state, NULL, NEW.id, NEW.content, NEW.tokens,
            CASE NEW.state WHEN 'undoing' THEN NEW.down_sql ELSE NEW.up_sql END, NULL);
    ELSIF (NEW.id, NEW.content, NEW.tokens) IS NOT DISTINCT FROM (OLD.id, OLD.content, OLD.tokens)
        AND starts_with(NEW.up_sql, OLD.up_sql) AND NEW.run_id = OLD.run_id THEN
        -- A text too long for one message comes in pieces, in one transaction.
        PERFORM {schema}.audit_add('continued', NULL, NEW.id, NULL, NULL, substr(NEW.up_sql, length(OLD.up_sql) + 1), NULL);
    ELSE
        PERFORM {schema}.audit_add('edited', NULL, NEW.id, NEW.content, NEW.tokens, NEW.up_sql,
            CASE WHEN NEW.id <> OLD.id THEN 'it was ' || OLD.id END);
    END IF;
    RETURN NULL;
END
$$;
-- As audit_add does it for each new row, but many rows of one statement move the head once: a row that is changed again and again
-- in one transaction is looked for through all its versions.
CREATE FUNCTION {schema}.audit_added() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    one record;
    head record;
    now timestamptz := clock_timestamp();
    address text := host(inet_client_addr());
    application text := current_setting('application_name');
    number bigint;
    chain bytea;
BEGIN
    FOR one IN SELECT * FROM added ORDER BY position LOOP
        IF number IS NULL THEN
            SELECT h.seq, h.hash, l.epoch, l.origin INTO head FROM {schema}.audit_head h, {schema}.lease l
                WHERE h.one AND l.one FOR UPDATE OF h;
            IF NOT FOUND THEN
                PERFORM {schema}.audit_add(one.state, one.run_id, one.id, one.content, one.tokens, one.up_sql, NULL);
                CONTINUE;
            END IF;
            number := head.seq;
            chain := head.hash;
        END IF;
        number := number + 1;
        chain := sha256(chain || convert_to(json_build_array(number, (extract(epoch FROM now) * 1000000)::bigint, one.state,
            one.run_id, one.id, head.epoch, session_user, address, application, head.origin, encode(one.content, 'hex'),
            encode(one.tokens, 'hex'), one.up_sql, NULL::text)::text, 'UTF8'));
        INSERT INTO {schema}.audit VALUES (number, now, one.state, one.run_id, one.id, head.epoch, session_user, address,
            application, head.origin, one.content, one.tokens, one.up_sql, NULL, chain);
    END LOOP;
    UPDATE {schema}.audit_head h SET seq = number, hash = chain WHERE h.one AND number IS NOT NULL;
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_new AFTER INSERT ON {schema}.history REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.audit_added();
CREATE TRIGGER audit AFTER DELETE ON {schema}.history FOR EACH ROW EXECUTE FUNCTION {schema}.audit_history();
CREATE TRIGGER audit_change AFTER UPDATE ON {schema}.history FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM OLD.state OR NEW.id IS DISTINCT FROM OLD.id OR NEW.content IS DISTINCT FROM OLD.content
        OR NEW.tokens IS DISTINCT FROM OLD.tokens OR NEW.up_sql IS DISTINCT FROM OLD.up_sql
        OR NEW.down_sql IS DISTINCT FROM OLD.down_sql OR NEW.run_id IS DISTINCT FROM OLD.run_id
        OR NEW.applied_at IS DISTINCT FROM OLD.applied_at)
    EXECUTE FUNCTION {schema}.audit_history();
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON {schema}.history EXECUTE FUNCTION {schema}.audit_history();

CREATE FUNCTION {schema}.audit_run() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM {schema}.audit_add('run_deleted', OLD.run_id, NULL, NULL, NULL, NULL, OLD.kind || ', ' || OLD.state);
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM {schema}.audit_add('run_started', NEW.run_id, NULL, NEW.plan_hash, NULL, NULL, NEW.kind);
    ELSIF NEW.epoch IS DISTINCT FROM OLD.epoch AND NEW.state = 'Locked' THEN
        PERFORM {schema}.audit_add('run_resumed', NEW.run_id, NULL, NULL, NULL, NULL, NEW.kind);
    ELSIF NEW.finished_at IS NOT NULL THEN
        PERFORM {schema}.audit_add('run_finished', NEW.run_id, NULL, NULL, NULL, NULL, NEW.state);
    ELSIF NEW.rest IS NOT NULL THEN
        PERFORM {schema}.audit_add('run_rested', NEW.run_id, NEW.rest_step, NULL, NULL, NULL,
            NEW.state || ', ' || NEW.rest || coalesce(': ' || NEW.rest_message, ''));
    ELSE
        PERFORM {schema}.audit_add('run_moved', NEW.run_id, NULL, NULL, NULL, NULL, NEW.state);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER audit AFTER INSERT OR DELETE ON {schema}.run FOR EACH ROW EXECUTE FUNCTION {schema}.audit_run();
CREATE TRIGGER audit_change AFTER UPDATE ON {schema}.run FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM OLD.state OR NEW.rest IS DISTINCT FROM OLD.rest
        OR NEW.rest_message IS DISTINCT FROM OLD.rest_message OR NEW.epoch IS DISTINCT FROM OLD.epoch
        OR NEW.finished_at IS DISTINCT FROM OLD.finished_at)
    EXECUTE FUNCTION {schema}.audit_run();

CREATE FUNCTION {schema}.audit_refuse() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'ME441', MESSAGE = 'the audit log of migengine is append-only';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.audit
    EXECUTE FUNCTION {schema}.audit_refuse();

-- Also where a session says that it only copies: session_replication_role = replica.
ALTER TABLE {schema}.history ENABLE ALWAYS TRIGGER audit;
ALTER TABLE {schema}.history ENABLE ALWAYS TRIGGER audit_new;
ALTER TABLE {schema}.history ENABLE ALWAYS TRIGGER audit_change;
ALTER TABLE {schema}.history ENABLE ALWAYS TRIGGER audit_truncate;
ALTER TABLE {schema}.run ENABLE ALWAYS TRIGGER audit;
ALTER TABLE {schema}.run ENABLE ALWAYS TRIGGER audit_change;
ALTER TABLE {schema}.audit ENABLE ALWAYS TRIGGER append_only;

INSERT INTO {schema}.audit_head DEFAULT VALUES;
INSERT INTO {schema}.identity (layout, engine) VALUES (1, {engine});
INSERT INTO {schema}.lease DEFAULT VALUES;
