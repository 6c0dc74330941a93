//! A database of a test server, asked with psql and compared with pg_dump.

use super::Cluster;
use super::Project;
use std::io::Write;
use std::process::Stdio;

/// One database. It goes away with its server.
#[derive(Debug, Clone)]
pub struct Database<'a> {
    name: String,
    cluster: &'a Cluster,
}

impl<'a> Database<'a> {
    /// A database that exists already.
    pub fn named(name: &str, cluster: &'a Cluster) -> Self {
        Self { name: name.to_owned(), cluster }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its connection URL.
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// Its server.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// Runs SQL with psql, unaligned and without headers; panics with the server's words on an error.
    pub fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
    }

    /// Runs SQL with psql; the error is what psql wrote.
    pub fn try_psql(&self, sql: &str) -> Result<String, String> {
        let mut psql = self.cluster.program("psql");
        psql.args(["-AtXq", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d", &self.url(), "-f", "-"]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = psql.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sql = sql.to_owned();
        // In a thread of its own: a psql that fills its output pipe stops reading.
        let writer = std::thread::spawn(move || stdin.write_all(sql.as_bytes()).ok());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The schema as pg_dump shows it, without the engine's own schema and without what differs from run to run. Against
    /// a server newer than the pg_dump at hand, which refuses that, the schema as `migengine schema` shows it.
    pub fn dump(&self) -> String {
        let mut pg_dump = self.cluster.program("pg_dump");
        pg_dump.args(["--schema-only", "--exclude-schema=migengine", "-d", &self.url()]);
        let output = pg_dump.output().unwrap();
        if String::from_utf8_lossy(&output.stderr).contains("server version mismatch") {
            return Project::new(self).run(&["schema"]).expect(0).stdout;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        normalise(&String::from_utf8(output.stdout).unwrap())
    }
}

/// Drops comments, blank lines and the random key of `\restrict`, which newer minor versions write.
fn normalise(dump: &str) -> String {
    let keep = |line: &&str| {
        !line.is_empty()
            && !line.starts_with("--")
            && !["\\restrict ", "\\unrestrict "].iter().any(|p| line.starts_with(p))
    };
    dump.lines().filter(keep).flat_map(|line| [line, "\n"]).collect()
}
