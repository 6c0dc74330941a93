//! The way back from a dump, as commands that can be copied.
//!
//! Never into the database as it is: `pg_restore --clean` drops only what the dump holds, so whatever a run created stays,
//! and the history with it where the dump was made before there was one. The database is moved aside, and the dump makes
//! it anew, with its encoding and its settings.

use migengine_engine::pg::layout::quote_identifier;
use migengine_engine::pg::target::Target;

use crate::{admission, pg_dump};

/// The longest name that the server keeps whole, in bytes.
const NAME_MAX: usize = 63;

/// For a dump of the whole database: one command a line, below a heading.
#[must_use]
pub(super) fn of_database(target: &Target, file: &str) -> String {
    let server = Server::of(target);
    let (name, aside) = (&target.dbname, aside(&target.dbname));
    // A database cannot be renamed from inside.
    let elsewhere = if name == "postgres" { "template1" } else { "postgres" };
    let rename = format!("ALTER DATABASE {} RENAME TO {}", quote_identifier(name), quote_identifier(&aside));
    [
        format!("to restore: stop whoever uses {name}, then"),
        server.line("psql", &format!("-d {elsewhere} -c {}", admission::shell_word(&rename))),
        server.line("pg_restore", &format!("--create --exit-on-error -d {elsewhere} {}", admission::shell_word(file))),
        format!("the database as it was then is kept as {aside}. next: migengine status"),
    ]
    .join("\n")
}

/// For a dump of some tables: the history did not go along, so it must not go back.
#[must_use]
pub(super) fn of_tables(target: &Target, file: &str) -> String {
    let server = Server::of(target);
    let scratch = admission::shell_word(&cut(&target.dbname, "_tables"));
    [
        "to restore rows: the dump holds tables without the history, so look at it in a database of its own".to_owned(),
        server.line("createdb", &format!("-T template0 {scratch}")),
        server.line("pg_restore", &format!("-d {scratch} {}", admission::shell_word(file))),
        "what their foreign keys and functions need is not in it: errors about that are to be expected".to_owned(),
    ]
    .join("\n")
}

fn aside(name: &str) -> String {
    cut(name, "_broken")
}

/// A name with a suffix, no longer than the server keeps.
fn cut(name: &str, suffix: &str) -> String {
    let mut end = name.len().min(NAME_MAX - suffix.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", name.get(..end).unwrap_or(name))
}

/// How the client programs are told where the server is.
struct Server {
    options: String,
}

impl Server {
    fn of(target: &Target) -> Self {
        let user = admission::shell_word(&target.user);
        let options = target.servers.first().map_or_else(
            || format!("-U {user}"),
            |server| format!("-h {} -p {} -U {user}", admission::shell_word(&pg_dump::host(server)), server.port),
        );
        Self { options }
    }

    fn line(&self, program: &str, more: &str) -> String {
        format!("  {program} {} {more}", self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_at_a_letter() {
        assert_eq!(cut("shop", "_broken"), "shop_broken");
        let cut = cut(&"ä".repeat(31), "_broken");
        assert!(cut.len() <= NAME_MAX && cut.ends_with("ä_broken"), "{cut}");
    }
}
