//! The shell towards PostgreSQL.
