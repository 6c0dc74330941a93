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
    taken_at      timestamptz
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

CREATE TABLE {schema}.history (
    id          text PRIMARY KEY,
    position    bigint GENERATED ALWAYS AS IDENTITY,
    state       text NOT NULL CHECK (state IN ('begun', 'applied', 'undoing')),
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

CREATE FUNCTION {schema}.fence(my_epoch bigint, needs text[], gone text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    missing text;
BEGIN
    PERFORM 1 FROM {schema}.lease WHERE epoch = my_epoch FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'ME001',
            MESSAGE = 'another migengine has taken over: epoch ' || my_epoch || ' is no longer the current one';
    END IF;
    SELECT need INTO missing FROM unnest(needs) AS need
        WHERE NOT EXISTS (SELECT 1 FROM {schema}.history WHERE id = need AND state = 'applied') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'ME002', MESSAGE = 'the step before, ' || missing || ', did not take effect';
    END IF;
    SELECT id INTO missing FROM {schema}.history WHERE id = ANY (gone) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'ME002', MESSAGE = 'the step before, ' || missing || ', was not reversed';
    END IF;
END
$$;
COMMENT ON FUNCTION {schema}.fence IS 'Refuses a step whose runner was superseded, or whose predecessors did not take effect';

INSERT INTO {schema}.identity (layout, engine) VALUES (1, {engine});
INSERT INTO {schema}.lease DEFAULT VALUES;
