//! A row per kind of object: how to add one, ways to change it and take the change back, and how to remove it.

use migengine_engine::schema::Kind;

/// The first server version that knows it, the change, and the way back.
pub(crate) type Change = (u32, &'static str, &'static str);

/// One kind.
pub(crate) struct Subject {
    /// The first server version that has such objects.
    pub(crate) since: u32,
    pub(crate) kind: Kind,
    /// What such an object needs.
    pub(crate) ground: &'static str,
    pub(crate) add: &'static str,
    pub(crate) changes: &'static [Change],
    pub(crate) remove: &'static str,
}

const fn subject(
    kind: Kind,
    ground: &'static str,
    add: &'static str,
    changes: &'static [Change],
    remove: &'static str,
) -> Subject {
    Subject { since: 14, kind, ground, add, changes, remove }
}

const TABLE: &str = "CREATE TABLE t (a int, b text)";
const ENUM: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok')";
const WRAPPER: &str = "CREATE FOREIGN DATA WRAPPER w";
const SERVER: &str = "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w";
const TRIGGER_FUNCTION: &str = "CREATE TABLE t (a int); \
     CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'";
const EVENT_FUNCTION: &str = "CREATE FUNCTION ef() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'";
const TRANSFORM_FUNCTIONS: &str = "CREATE FUNCTION f1(internal) RETURNS internal IMMUTABLE LANGUAGE internal AS 'generate_series_int4_support'; \
     CREATE FUNCTION f2(internal) RETURNS internal IMMUTABLE LANGUAGE internal AS 'generate_series_int8_support'";

pub(crate) const SUBJECTS: &[Subject] = &[
    subject(
        Kind::Schema,
        "",
        "CREATE SCHEMA s",
        &[
            (14, "ALTER SCHEMA s OWNER TO alice", "ALTER SCHEMA s OWNER TO postgres"),
            (14, "GRANT USAGE ON SCHEMA s TO alice", "REVOKE USAGE ON SCHEMA s FROM alice"),
            (14, "COMMENT ON SCHEMA s IS 'x'", "COMMENT ON SCHEMA s IS NULL"),
            (14, "ALTER SCHEMA s RENAME TO z", "ALTER SCHEMA z RENAME TO s"),
        ],
        "DROP SCHEMA s",
    ),
    subject(
        Kind::Extension,
        "DROP EXTENSION plpgsql",
        "CREATE EXTENSION plpgsql",
        &[(
            14,
            "COMMENT ON EXTENSION plpgsql IS 'x'",
            "COMMENT ON EXTENSION plpgsql IS 'PL/pgSQL procedural language'",
        )],
        "DROP EXTENSION plpgsql",
    ),
    subject(
        Kind::Language,
        "",
        "CREATE TRUSTED LANGUAGE l HANDLER plpgsql_call_handler",
        &[
            (14, "ALTER LANGUAGE l OWNER TO alice", "ALTER LANGUAGE l OWNER TO postgres"),
            (14, "REVOKE USAGE ON LANGUAGE l FROM PUBLIC", "GRANT USAGE ON LANGUAGE l TO PUBLIC"),
            (14, "COMMENT ON LANGUAGE l IS 'x'", "COMMENT ON LANGUAGE l IS NULL"),
            (14, "ALTER LANGUAGE l RENAME TO z", "ALTER LANGUAGE z RENAME TO l"),
        ],
        "DROP LANGUAGE l",
    ),
    subject(
        Kind::AccessMethod,
        "",
        "CREATE ACCESS METHOD m TYPE TABLE HANDLER heap_tableam_handler",
        &[(14, "COMMENT ON ACCESS METHOD m IS 'x'", "COMMENT ON ACCESS METHOD m IS NULL")],
        "DROP ACCESS METHOD m",
    ),
    subject(
        Kind::Collation,
        "CREATE SCHEMA s",
        "CREATE COLLATION co (LOCALE = 'C')",
        &[
            (14, "ALTER COLLATION co OWNER TO alice", "ALTER COLLATION co OWNER TO postgres"),
            (14, "COMMENT ON COLLATION co IS 'x'", "COMMENT ON COLLATION co IS NULL"),
            (14, "ALTER COLLATION co SET SCHEMA s", "ALTER COLLATION s.co SET SCHEMA public"),
            (
                14,
                "DROP COLLATION co; CREATE COLLATION co (LOCALE = 'POSIX')",
                "DROP COLLATION co; CREATE COLLATION co (LOCALE = 'C')",
            ),
        ],
        "DROP COLLATION co",
    ),
    subject(
        Kind::Conversion,
        "",
        "CREATE CONVERSION cv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        &[
            (14, "ALTER CONVERSION cv OWNER TO alice", "ALTER CONVERSION cv OWNER TO postgres"),
            (14, "COMMENT ON CONVERSION cv IS 'x'", "COMMENT ON CONVERSION cv IS NULL"),
            (14, "ALTER CONVERSION cv RENAME TO cz", "ALTER CONVERSION cz RENAME TO cv"),
            (
                14,
                "DROP CONVERSION cv; CREATE DEFAULT CONVERSION cv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
                "DROP CONVERSION cv; CREATE CONVERSION cv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
            ),
        ],
        "DROP CONVERSION cv",
    ),
    subject(
        Kind::Type,
        "",
        ENUM,
        &[
            (14, "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", "ALTER TYPE mood RENAME VALUE 'fine' TO 'ok'"),
            (14, "ALTER TYPE mood OWNER TO alice", "ALTER TYPE mood OWNER TO postgres"),
            (14, "REVOKE USAGE ON TYPE mood FROM PUBLIC", "GRANT USAGE ON TYPE mood TO PUBLIC"),
            (14, "COMMENT ON TYPE mood IS 'x'", "COMMENT ON TYPE mood IS NULL"),
        ],
        "DROP TYPE mood",
    ),
    subject(
        Kind::Domain,
        "",
        "CREATE DOMAIN d AS text",
        &[
            (14, "ALTER DOMAIN d SET NOT NULL", "ALTER DOMAIN d DROP NOT NULL"),
            (14, "ALTER DOMAIN d SET DEFAULT 'x'", "ALTER DOMAIN d DROP DEFAULT"),
            (14, "ALTER DOMAIN d OWNER TO alice", "ALTER DOMAIN d OWNER TO postgres"),
            (14, "GRANT USAGE ON DOMAIN d TO alice", "REVOKE USAGE ON DOMAIN d FROM alice"),
            (14, "COMMENT ON DOMAIN d IS 'x'", "COMMENT ON DOMAIN d IS NULL"),
        ],
        "DROP DOMAIN d",
    ),
    subject(
        Kind::Attribute,
        "CREATE TYPE co AS (x int)",
        "ALTER TYPE co ADD ATTRIBUTE y text",
        &[
            (14, "ALTER TYPE co ALTER ATTRIBUTE y TYPE varchar(5)", "ALTER TYPE co ALTER ATTRIBUTE y TYPE text"),
            (
                14,
                "ALTER TYPE co ALTER ATTRIBUTE y TYPE text COLLATE \"C\"",
                "ALTER TYPE co ALTER ATTRIBUTE y TYPE text",
            ),
            (14, "COMMENT ON COLUMN co.y IS 'x'", "COMMENT ON COLUMN co.y IS NULL"),
            (14, "ALTER TYPE co RENAME ATTRIBUTE y TO z", "ALTER TYPE co RENAME ATTRIBUTE z TO y"),
        ],
        "ALTER TYPE co DROP ATTRIBUTE y",
    ),
    subject(
        Kind::Cast,
        ENUM,
        "CREATE CAST (mood AS int) WITH INOUT AS ASSIGNMENT",
        &[
            (14, "COMMENT ON CAST (mood AS int) IS 'x'", "COMMENT ON CAST (mood AS int) IS NULL"),
            (
                14,
                "DROP CAST (mood AS int); CREATE CAST (mood AS int) WITH INOUT AS IMPLICIT",
                "DROP CAST (mood AS int); CREATE CAST (mood AS int) WITH INOUT AS ASSIGNMENT",
            ),
        ],
        "DROP CAST (mood AS int)",
    ),
    subject(
        Kind::Transform,
        TRANSFORM_FUNCTIONS,
        "CREATE TRANSFORM FOR point LANGUAGE plpgsql (FROM SQL WITH FUNCTION f1(internal))",
        &[
            (
                14,
                "CREATE OR REPLACE TRANSFORM FOR point LANGUAGE plpgsql (FROM SQL WITH FUNCTION f2(internal))",
                "CREATE OR REPLACE TRANSFORM FOR point LANGUAGE plpgsql (FROM SQL WITH FUNCTION f1(internal))",
            ),
            (
                14,
                "COMMENT ON TRANSFORM FOR point LANGUAGE plpgsql IS 'x'",
                "COMMENT ON TRANSFORM FOR point LANGUAGE plpgsql IS NULL",
            ),
        ],
        "DROP TRANSFORM FOR point LANGUAGE plpgsql",
    ),
    subject(
        Kind::Operator,
        "",
        "CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)",
        &[
            (
                14,
                "ALTER OPERATOR === (int, int) SET (RESTRICT = eqsel)",
                "ALTER OPERATOR === (int, int) SET (RESTRICT = NONE)",
            ),
            (14, "ALTER OPERATOR === (int, int) OWNER TO alice", "ALTER OPERATOR === (int, int) OWNER TO postgres"),
            (14, "COMMENT ON OPERATOR === (int, int) IS 'x'", "COMMENT ON OPERATOR === (int, int) IS NULL"),
        ],
        "DROP OPERATOR === (int, int)",
    ),
    subject(
        Kind::OperatorFamily,
        "",
        "CREATE OPERATOR FAMILY of USING btree",
        &[
            (
                14,
                "ALTER OPERATOR FAMILY of USING btree ADD OPERATOR 1 <(int4, int8), FUNCTION 1 (int4, int8) btint48cmp(int4, int8)",
                "ALTER OPERATOR FAMILY of USING btree DROP OPERATOR 1 (int4, int8), FUNCTION 1 (int4, int8)",
            ),
            (
                14,
                "ALTER OPERATOR FAMILY of USING btree OWNER TO alice",
                "ALTER OPERATOR FAMILY of USING btree OWNER TO postgres",
            ),
            (
                14,
                "COMMENT ON OPERATOR FAMILY of USING btree IS 'x'",
                "COMMENT ON OPERATOR FAMILY of USING btree IS NULL",
            ),
        ],
        "DROP OPERATOR FAMILY of USING btree",
    ),
    subject(
        Kind::OperatorClass,
        "CREATE OPERATOR FAMILY of USING hash",
        "CREATE OPERATOR CLASS oc FOR TYPE int USING hash FAMILY of AS OPERATOR 1 =, FUNCTION 1 hashint4(int)",
        &[
            (
                14,
                "ALTER OPERATOR CLASS oc USING hash OWNER TO alice",
                "ALTER OPERATOR CLASS oc USING hash OWNER TO postgres",
            ),
            (14, "COMMENT ON OPERATOR CLASS oc USING hash IS 'x'", "COMMENT ON OPERATOR CLASS oc USING hash IS NULL"),
            (14, "ALTER OPERATOR CLASS oc USING hash RENAME TO oz", "ALTER OPERATOR CLASS oz USING hash RENAME TO oc"),
        ],
        "DROP OPERATOR CLASS oc USING hash",
    ),
    subject(
        Kind::Function,
        "",
        "CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        &[
            (
                14,
                "CREATE OR REPLACE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
                "CREATE OR REPLACE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            ),
            (14, "ALTER FUNCTION f IMMUTABLE", "ALTER FUNCTION f VOLATILE"),
            (14, "ALTER FUNCTION f SET work_mem = '1MB'", "ALTER FUNCTION f RESET ALL"),
            (14, "ALTER FUNCTION f OWNER TO alice", "ALTER FUNCTION f OWNER TO postgres"),
            (14, "REVOKE ALL ON FUNCTION f FROM PUBLIC", "GRANT EXECUTE ON FUNCTION f TO PUBLIC"),
            (14, "COMMENT ON FUNCTION f IS 'x'", "COMMENT ON FUNCTION f IS NULL"),
        ],
        "DROP FUNCTION f",
    ),
    subject(
        Kind::Procedure,
        "",
        "CREATE PROCEDURE pr() LANGUAGE sql AS 'SELECT 1'",
        &[
            (14, "ALTER PROCEDURE pr SECURITY DEFINER", "ALTER PROCEDURE pr SECURITY INVOKER"),
            (14, "ALTER PROCEDURE pr OWNER TO alice", "ALTER PROCEDURE pr OWNER TO postgres"),
            (14, "REVOKE ALL ON PROCEDURE pr FROM PUBLIC", "GRANT EXECUTE ON PROCEDURE pr TO PUBLIC"),
            (14, "COMMENT ON PROCEDURE pr IS 'x'", "COMMENT ON PROCEDURE pr IS NULL"),
        ],
        "DROP PROCEDURE pr",
    ),
    subject(
        Kind::Aggregate,
        "",
        "CREATE AGGREGATE ag(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
        &[
            (
                14,
                "CREATE OR REPLACE AGGREGATE ag(int) (SFUNC = int4pl, STYPE = int, INITCOND = '1')",
                "CREATE OR REPLACE AGGREGATE ag(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
            ),
            (14, "ALTER AGGREGATE ag(int) OWNER TO alice", "ALTER AGGREGATE ag(int) OWNER TO postgres"),
            (14, "REVOKE ALL ON FUNCTION ag(int) FROM PUBLIC", "GRANT EXECUTE ON FUNCTION ag(int) TO PUBLIC"),
            (14, "COMMENT ON AGGREGATE ag(int) IS 'x'", "COMMENT ON AGGREGATE ag(int) IS NULL"),
        ],
        "DROP AGGREGATE ag(int)",
    ),
    subject(
        Kind::TextSearchParser,
        "",
        "CREATE TEXT SEARCH PARSER tp (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
        &[
            (14, "COMMENT ON TEXT SEARCH PARSER tp IS 'x'", "COMMENT ON TEXT SEARCH PARSER tp IS NULL"),
            (
                14,
                "DROP TEXT SEARCH PARSER tp; CREATE TEXT SEARCH PARSER tp (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline)",
                "DROP TEXT SEARCH PARSER tp; CREATE TEXT SEARCH PARSER tp (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
            ),
        ],
        "DROP TEXT SEARCH PARSER tp",
    ),
    subject(
        Kind::TextSearchTemplate,
        "",
        "CREATE TEXT SEARCH TEMPLATE tt (LEXIZE = dsimple_lexize)",
        &[
            (14, "COMMENT ON TEXT SEARCH TEMPLATE tt IS 'x'", "COMMENT ON TEXT SEARCH TEMPLATE tt IS NULL"),
            (
                14,
                "DROP TEXT SEARCH TEMPLATE tt; CREATE TEXT SEARCH TEMPLATE tt (LEXIZE = dsimple_lexize, INIT = dsimple_init)",
                "DROP TEXT SEARCH TEMPLATE tt; CREATE TEXT SEARCH TEMPLATE tt (LEXIZE = dsimple_lexize)",
            ),
        ],
        "DROP TEXT SEARCH TEMPLATE tt",
    ),
    subject(
        Kind::TextSearchDictionary,
        "",
        "CREATE TEXT SEARCH DICTIONARY td (TEMPLATE = simple)",
        &[
            (14, "ALTER TEXT SEARCH DICTIONARY td (accept = false)", "ALTER TEXT SEARCH DICTIONARY td (accept)"),
            (14, "ALTER TEXT SEARCH DICTIONARY td OWNER TO alice", "ALTER TEXT SEARCH DICTIONARY td OWNER TO postgres"),
            (14, "COMMENT ON TEXT SEARCH DICTIONARY td IS 'x'", "COMMENT ON TEXT SEARCH DICTIONARY td IS NULL"),
        ],
        "DROP TEXT SEARCH DICTIONARY td",
    ),
    subject(
        Kind::TextSearchConfiguration,
        "",
        "CREATE TEXT SEARCH CONFIGURATION tc (COPY = simple)",
        &[
            (
                14,
                "ALTER TEXT SEARCH CONFIGURATION tc ALTER MAPPING FOR word WITH english_stem, simple",
                "ALTER TEXT SEARCH CONFIGURATION tc ALTER MAPPING FOR word WITH simple",
            ),
            (
                14,
                "ALTER TEXT SEARCH CONFIGURATION tc OWNER TO alice",
                "ALTER TEXT SEARCH CONFIGURATION tc OWNER TO postgres",
            ),
            (14, "COMMENT ON TEXT SEARCH CONFIGURATION tc IS 'x'", "COMMENT ON TEXT SEARCH CONFIGURATION tc IS NULL"),
        ],
        "DROP TEXT SEARCH CONFIGURATION tc",
    ),
    subject(
        Kind::ForeignDataWrapper,
        "",
        WRAPPER,
        &[
            (
                14,
                "ALTER FOREIGN DATA WRAPPER w OPTIONS (ADD debug 'true')",
                "ALTER FOREIGN DATA WRAPPER w OPTIONS (DROP debug)",
            ),
            (14, "GRANT USAGE ON FOREIGN DATA WRAPPER w TO alice", "REVOKE USAGE ON FOREIGN DATA WRAPPER w FROM alice"),
            (14, "COMMENT ON FOREIGN DATA WRAPPER w IS 'x'", "COMMENT ON FOREIGN DATA WRAPPER w IS NULL"),
        ],
        "DROP FOREIGN DATA WRAPPER w",
    ),
    subject(
        Kind::Server,
        WRAPPER,
        "CREATE SERVER s VERSION '1' FOREIGN DATA WRAPPER w",
        &[
            (14, "ALTER SERVER s OPTIONS (ADD host 'h')", "ALTER SERVER s OPTIONS (DROP host)"),
            (14, "ALTER SERVER s VERSION '2'", "ALTER SERVER s VERSION '1'"),
            (14, "ALTER SERVER s OWNER TO alice", "ALTER SERVER s OWNER TO postgres"),
            (14, "GRANT USAGE ON FOREIGN SERVER s TO alice", "REVOKE USAGE ON FOREIGN SERVER s FROM alice"),
            (14, "COMMENT ON SERVER s IS 'x'", "COMMENT ON SERVER s IS NULL"),
        ],
        "DROP SERVER s",
    ),
    subject(
        Kind::UserMapping,
        SERVER,
        "CREATE USER MAPPING FOR alice SERVER s OPTIONS (user 'u', password 'hunter2')",
        &[
            (
                14,
                "ALTER USER MAPPING FOR alice SERVER s OPTIONS (SET user 'v')",
                "ALTER USER MAPPING FOR alice SERVER s OPTIONS (SET user 'u')",
            ),
            (
                14,
                "ALTER USER MAPPING FOR alice SERVER s OPTIONS (DROP password)",
                "ALTER USER MAPPING FOR alice SERVER s OPTIONS (ADD password 'hunter2')",
            ),
        ],
        "DROP USER MAPPING FOR alice SERVER s",
    ),
    subject(
        Kind::Sequence,
        TABLE,
        "CREATE SEQUENCE q",
        &[
            (14, "ALTER SEQUENCE q INCREMENT 2 CACHE 4", "ALTER SEQUENCE q INCREMENT 1 CACHE 1"),
            (14, "ALTER SEQUENCE q START 5", "ALTER SEQUENCE q START 1"),
            (14, "ALTER SEQUENCE q AS int", "ALTER SEQUENCE q AS bigint"),
            (14, "ALTER SEQUENCE q CYCLE", "ALTER SEQUENCE q NO CYCLE"),
            (14, "ALTER SEQUENCE q OWNED BY t.a", "ALTER SEQUENCE q OWNED BY NONE"),
            (15, "ALTER SEQUENCE q SET UNLOGGED", "ALTER SEQUENCE q SET LOGGED"),
            (14, "ALTER SEQUENCE q OWNER TO alice", "ALTER SEQUENCE q OWNER TO postgres"),
            (14, "GRANT USAGE ON SEQUENCE q TO alice", "REVOKE USAGE ON SEQUENCE q FROM alice"),
            (14, "COMMENT ON SEQUENCE q IS 'x'", "COMMENT ON SEQUENCE q IS NULL"),
        ],
        "DROP SEQUENCE q",
    ),
    subject(
        Kind::Table,
        "CREATE TABLE parent (a int)",
        TABLE,
        &[
            (14, "ALTER TABLE t SET UNLOGGED", "ALTER TABLE t SET LOGGED"),
            (14, "ALTER TABLE t SET (fillfactor = 70)", "ALTER TABLE t RESET (fillfactor)"),
            (
                14,
                "ALTER TABLE t SET (toast.autovacuum_enabled = off)",
                "ALTER TABLE t RESET (toast.autovacuum_enabled)",
            ),
            (14, "ALTER TABLE t REPLICA IDENTITY FULL", "ALTER TABLE t REPLICA IDENTITY DEFAULT"),
            (14, "ALTER TABLE t ENABLE ROW LEVEL SECURITY", "ALTER TABLE t DISABLE ROW LEVEL SECURITY"),
            (14, "ALTER TABLE t FORCE ROW LEVEL SECURITY", "ALTER TABLE t NO FORCE ROW LEVEL SECURITY"),
            (14, "ALTER TABLE t INHERIT parent", "ALTER TABLE t NO INHERIT parent"),
            (14, "ALTER TABLE t OWNER TO alice", "ALTER TABLE t OWNER TO postgres"),
            (14, "GRANT SELECT ON t TO alice WITH GRANT OPTION", "REVOKE ALL ON t FROM alice"),
            (14, "COMMENT ON TABLE t IS 'x'", "COMMENT ON TABLE t IS NULL"),
        ],
        "DROP TABLE t",
    ),
    subject(
        Kind::ForeignTable,
        SERVER,
        "CREATE FOREIGN TABLE ft (a int) SERVER s",
        &[
            (
                14,
                "ALTER FOREIGN TABLE ft OPTIONS (ADD table_name 'y')",
                "ALTER FOREIGN TABLE ft OPTIONS (DROP table_name)",
            ),
            (14, "ALTER FOREIGN TABLE ft OWNER TO alice", "ALTER FOREIGN TABLE ft OWNER TO postgres"),
            (14, "GRANT SELECT ON ft TO alice", "REVOKE SELECT ON ft FROM alice"),
            (14, "COMMENT ON FOREIGN TABLE ft IS 'x'", "COMMENT ON FOREIGN TABLE ft IS NULL"),
        ],
        "DROP FOREIGN TABLE ft",
    ),
    subject(
        Kind::View,
        TABLE,
        "CREATE VIEW v AS SELECT a FROM t",
        &[
            (14, "CREATE OR REPLACE VIEW v AS SELECT a + 0 AS a FROM t", "CREATE OR REPLACE VIEW v AS SELECT a FROM t"),
            (14, "ALTER VIEW v SET (security_barrier)", "ALTER VIEW v RESET (security_barrier)"),
            (14, "ALTER VIEW v SET (check_option = local)", "ALTER VIEW v RESET (check_option)"),
            (15, "ALTER VIEW v SET (security_invoker)", "ALTER VIEW v RESET (security_invoker)"),
            (14, "ALTER VIEW v OWNER TO alice", "ALTER VIEW v OWNER TO postgres"),
            (14, "GRANT SELECT ON v TO alice", "REVOKE SELECT ON v FROM alice"),
            (14, "COMMENT ON VIEW v IS 'x'", "COMMENT ON VIEW v IS NULL"),
        ],
        "DROP VIEW v",
    ),
    subject(
        Kind::MaterializedView,
        TABLE,
        "CREATE MATERIALIZED VIEW v AS SELECT a FROM t",
        &[
            (14, "ALTER MATERIALIZED VIEW v SET (fillfactor = 70)", "ALTER MATERIALIZED VIEW v RESET (fillfactor)"),
            (14, "ALTER MATERIALIZED VIEW v OWNER TO alice", "ALTER MATERIALIZED VIEW v OWNER TO postgres"),
            (14, "GRANT SELECT ON v TO alice", "REVOKE SELECT ON v FROM alice"),
            (14, "COMMENT ON MATERIALIZED VIEW v IS 'x'", "COMMENT ON MATERIALIZED VIEW v IS NULL"),
            (
                14,
                "DROP MATERIALIZED VIEW v; CREATE MATERIALIZED VIEW v AS SELECT a + 1 AS a FROM t",
                "DROP MATERIALIZED VIEW v; CREATE MATERIALIZED VIEW v AS SELECT a FROM t",
            ),
        ],
        "DROP MATERIALIZED VIEW v",
    ),
    subject(
        Kind::Column,
        TABLE,
        "ALTER TABLE t ADD c text",
        &[
            (14, "ALTER TABLE t ALTER c TYPE varchar(9)", "ALTER TABLE t ALTER c TYPE text"),
            (
                14,
                "ALTER TABLE t ALTER c TYPE text COLLATE \"C\"",
                "ALTER TABLE t ALTER c TYPE text COLLATE \"default\"",
            ),
            (14, "ALTER TABLE t ALTER c SET NOT NULL", "ALTER TABLE t ALTER c DROP NOT NULL"),
            (14, "ALTER TABLE t ALTER c SET DEFAULT 'x'", "ALTER TABLE t ALTER c DROP DEFAULT"),
            (14, "ALTER TABLE t ALTER c SET STORAGE EXTERNAL", "ALTER TABLE t ALTER c SET STORAGE EXTENDED"),
            (14, "ALTER TABLE t ALTER c SET COMPRESSION pglz", "ALTER TABLE t ALTER c SET COMPRESSION default"),
            (14, "ALTER TABLE t ALTER c SET STATISTICS 500", "ALTER TABLE t ALTER c SET STATISTICS -1"),
            (14, "ALTER TABLE t ALTER c SET (n_distinct = 5)", "ALTER TABLE t ALTER c RESET (n_distinct)"),
            (14, "GRANT SELECT (c) ON t TO alice", "REVOKE SELECT (c) ON t FROM alice"),
            (14, "COMMENT ON COLUMN t.c IS 'x'", "COMMENT ON COLUMN t.c IS NULL"),
        ],
        "ALTER TABLE t DROP c",
    ),
    subject(
        Kind::Constraint,
        "CREATE TABLE t (a int PRIMARY KEY, b int)",
        "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (b) REFERENCES t",
        &[
            (14, "ALTER TABLE t ALTER CONSTRAINT k DEFERRABLE", "ALTER TABLE t ALTER CONSTRAINT k NOT DEFERRABLE"),
            (14, "COMMENT ON CONSTRAINT k ON t IS 'x'", "COMMENT ON CONSTRAINT k ON t IS NULL"),
            (14, "ALTER TABLE t RENAME CONSTRAINT k TO kz", "ALTER TABLE t RENAME CONSTRAINT kz TO k"),
            (
                14,
                "ALTER TABLE t DROP CONSTRAINT k, ADD CONSTRAINT k FOREIGN KEY (b) REFERENCES t ON DELETE CASCADE",
                "ALTER TABLE t DROP CONSTRAINT k, ADD CONSTRAINT k FOREIGN KEY (b) REFERENCES t",
            ),
            (18, "ALTER TABLE t ALTER CONSTRAINT k NOT ENFORCED", "ALTER TABLE t ALTER CONSTRAINT k ENFORCED"),
        ],
        "ALTER TABLE t DROP CONSTRAINT k",
    ),
    subject(
        Kind::Index,
        TABLE,
        "CREATE INDEX i ON t ((a + 1))",
        &[
            (14, "ALTER INDEX i SET (fillfactor = 70)", "ALTER INDEX i RESET (fillfactor)"),
            (14, "ALTER INDEX i ALTER COLUMN 1 SET STATISTICS 9", "ALTER INDEX i ALTER COLUMN 1 SET STATISTICS -1"),
            (14, "ALTER TABLE t CLUSTER ON i", "ALTER TABLE t SET WITHOUT CLUSTER"),
            (14, "COMMENT ON INDEX i IS 'x'", "COMMENT ON INDEX i IS NULL"),
            (14, "ALTER INDEX i RENAME TO iz", "ALTER INDEX iz RENAME TO i"),
            (
                14,
                "DROP INDEX i; CREATE INDEX i ON t ((a + 1)) WHERE a > 0",
                "DROP INDEX i; CREATE INDEX i ON t ((a + 1))",
            ),
        ],
        "DROP INDEX i",
    ),
    subject(
        Kind::Statistics,
        TABLE,
        "CREATE STATISTICS st ON a, b FROM t",
        &[
            (14, "ALTER STATISTICS st SET STATISTICS 7", "ALTER STATISTICS st SET STATISTICS -1"),
            (14, "ALTER STATISTICS st OWNER TO alice", "ALTER STATISTICS st OWNER TO postgres"),
            (14, "COMMENT ON STATISTICS st IS 'x'", "COMMENT ON STATISTICS st IS NULL"),
        ],
        "DROP STATISTICS st",
    ),
    subject(
        Kind::Rule,
        TABLE,
        "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING",
        &[
            (14, "ALTER TABLE t DISABLE RULE r", "ALTER TABLE t ENABLE RULE r"),
            (
                14,
                "CREATE OR REPLACE RULE r AS ON DELETE TO t DO ALSO NOTHING",
                "CREATE OR REPLACE RULE r AS ON DELETE TO t DO INSTEAD NOTHING",
            ),
            (14, "COMMENT ON RULE r ON t IS 'x'", "COMMENT ON RULE r ON t IS NULL"),
        ],
        "DROP RULE r ON t",
    ),
    subject(
        Kind::Trigger,
        TRIGGER_FUNCTION,
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf()",
        &[
            (14, "ALTER TABLE t DISABLE TRIGGER tr", "ALTER TABLE t ENABLE TRIGGER tr"),
            (14, "ALTER TABLE t ENABLE ALWAYS TRIGGER tr", "ALTER TABLE t ENABLE TRIGGER tr"),
            (
                14,
                "CREATE OR REPLACE TRIGGER tr AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf()",
                "CREATE OR REPLACE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf()",
            ),
            (14, "COMMENT ON TRIGGER tr ON t IS 'x'", "COMMENT ON TRIGGER tr ON t IS NULL"),
        ],
        "DROP TRIGGER tr ON t",
    ),
    subject(
        Kind::Policy,
        TABLE,
        "CREATE POLICY y ON t USING (a > 0)",
        &[
            (14, "ALTER POLICY y ON t USING (a > 1)", "ALTER POLICY y ON t USING (a > 0)"),
            (14, "ALTER POLICY y ON t TO alice", "ALTER POLICY y ON t TO PUBLIC"),
            (14, "COMMENT ON POLICY y ON t IS 'x'", "COMMENT ON POLICY y ON t IS NULL"),
        ],
        "DROP POLICY y ON t",
    ),
    subject(
        Kind::EventTrigger,
        EVENT_FUNCTION,
        "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION ef()",
        &[
            (14, "ALTER EVENT TRIGGER e DISABLE", "ALTER EVENT TRIGGER e ENABLE"),
            (14, "ALTER EVENT TRIGGER e ENABLE ALWAYS", "ALTER EVENT TRIGGER e ENABLE"),
            (14, "ALTER EVENT TRIGGER e OWNER TO boss", "ALTER EVENT TRIGGER e OWNER TO postgres"),
            (14, "COMMENT ON EVENT TRIGGER e IS 'x'", "COMMENT ON EVENT TRIGGER e IS NULL"),
        ],
        "DROP EVENT TRIGGER e",
    ),
    subject(
        Kind::Publication,
        TABLE,
        "CREATE PUBLICATION pub FOR TABLE t",
        &[
            (
                14,
                "ALTER PUBLICATION pub SET (publish = 'insert')",
                "ALTER PUBLICATION pub SET (publish = 'insert, update, delete, truncate')",
            ),
            (
                14,
                "ALTER PUBLICATION pub SET (publish_via_partition_root)",
                "ALTER PUBLICATION pub SET (publish_via_partition_root = off)",
            ),
            (14, "ALTER PUBLICATION pub OWNER TO alice", "ALTER PUBLICATION pub OWNER TO postgres"),
            (14, "COMMENT ON PUBLICATION pub IS 'x'", "COMMENT ON PUBLICATION pub IS NULL"),
        ],
        "DROP PUBLICATION pub",
    ),
    subject(
        Kind::PublicationTable,
        "CREATE TABLE t (a int PRIMARY KEY, b text); CREATE PUBLICATION pub",
        "ALTER PUBLICATION pub ADD TABLE t",
        &[
            (14, "ALTER TABLE t RENAME TO z", "ALTER TABLE z RENAME TO t"),
            (15, "ALTER PUBLICATION pub SET TABLE t (a)", "ALTER PUBLICATION pub SET TABLE t"),
            (15, "ALTER PUBLICATION pub SET TABLE t WHERE (a > 0)", "ALTER PUBLICATION pub SET TABLE t"),
        ],
        "ALTER PUBLICATION pub DROP TABLE t",
    ),
    Subject {
        since: 15,
        ..subject(
            Kind::PublicationSchema,
            "CREATE SCHEMA s; CREATE PUBLICATION pub",
            "ALTER PUBLICATION pub ADD TABLES IN SCHEMA s",
            // It has no attribute but its name.
            &[(15, "ALTER SCHEMA s RENAME TO z", "ALTER SCHEMA z RENAME TO s")],
            "ALTER PUBLICATION pub DROP TABLES IN SCHEMA s",
        )
    },
    subject(
        Kind::Subscription,
        "",
        "CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere password=hunter2' PUBLICATION x WITH (connect = false, slot_name = NONE, streaming = off)",
        &[
            (
                14,
                "ALTER SUBSCRIPTION sub SET PUBLICATION y WITH (refresh = false)",
                "ALTER SUBSCRIPTION sub SET PUBLICATION x WITH (refresh = false)",
            ),
            (
                14,
                "ALTER SUBSCRIPTION sub SET (synchronous_commit = 'local')",
                "ALTER SUBSCRIPTION sub SET (synchronous_commit = 'off')",
            ),
            (14, "ALTER SUBSCRIPTION sub SET (binary)", "ALTER SUBSCRIPTION sub SET (binary = off)"),
            (14, "ALTER SUBSCRIPTION sub SET (streaming = on)", "ALTER SUBSCRIPTION sub SET (streaming = off)"),
            (
                15,
                "ALTER SUBSCRIPTION sub SET (disable_on_error)",
                "ALTER SUBSCRIPTION sub SET (disable_on_error = off)",
            ),
            (16, "ALTER SUBSCRIPTION sub SET (origin = none)", "ALTER SUBSCRIPTION sub SET (origin = any)"),
            (16, "ALTER SUBSCRIPTION sub SET (run_as_owner)", "ALTER SUBSCRIPTION sub SET (run_as_owner = off)"),
            (
                16,
                "ALTER SUBSCRIPTION sub SET (password_required = off)",
                "ALTER SUBSCRIPTION sub SET (password_required = on)",
            ),
            (14, "ALTER SUBSCRIPTION sub OWNER TO boss", "ALTER SUBSCRIPTION sub OWNER TO postgres"),
            (14, "COMMENT ON SUBSCRIPTION sub IS 'x'", "COMMENT ON SUBSCRIPTION sub IS NULL"),
        ],
        "DROP SUBSCRIPTION sub",
    ),
    subject(
        Kind::DefaultPrivileges,
        "",
        "ALTER DEFAULT PRIVILEGES FOR ROLE alice GRANT SELECT ON TABLES TO PUBLIC",
        &[(
            14,
            "ALTER DEFAULT PRIVILEGES FOR ROLE alice GRANT INSERT ON TABLES TO PUBLIC",
            "ALTER DEFAULT PRIVILEGES FOR ROLE alice REVOKE INSERT ON TABLES FROM PUBLIC",
        )],
        "ALTER DEFAULT PRIVILEGES FOR ROLE alice REVOKE SELECT ON TABLES FROM PUBLIC",
    ),
    subject(
        Kind::Privileges,
        "",
        "GRANT SELECT ON pg_catalog.pg_authid TO alice",
        &[(14, "GRANT INSERT ON pg_catalog.pg_authid TO alice", "REVOKE INSERT ON pg_catalog.pg_authid FROM alice")],
        "REVOKE SELECT ON pg_catalog.pg_authid FROM alice",
    ),
];
