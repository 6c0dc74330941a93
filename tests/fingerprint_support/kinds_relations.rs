//! Relations, what belongs to them, and what is said about them.

use migengine_engine::schema::Kind;

use super::{SERVER, Subject, subject};

const TABLE: &str = "CREATE TABLE t (a int, b text)";
const TRIGGER_FUNCTION: &str = "CREATE TABLE t (a int); \
     CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'";
const EVENT_FUNCTION: &str = "CREATE FUNCTION ef() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'";

pub(crate) const SUBJECTS: &[Subject] = &[
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
