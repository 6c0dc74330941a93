//! Kinds of objects that are no relation and no part of one.

use migengine_engine::schema::Kind;

use super::{SERVER, Subject, subject};

const ENUM: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok')";
const WRAPPER: &str = "CREATE FOREIGN DATA WRAPPER w";
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
];
