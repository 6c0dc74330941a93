//! Who holds what a step needs.

use std::fmt;
use std::time::Duration;

use super::tally::millis;
use crate::hazard::LockMode;

/// One granted lock in the way of a claim.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Holder {
    /// Which claim it stands in the way of, by position.
    pub claim: usize,
    /// The table, as the server prints it.
    pub relation: String,
    /// How strong; nothing for a mode that is not known.
    pub mode: Option<LockMode>,
    /// The backend; nothing for a prepared transaction.
    pub pid: Option<i32>,
    /// The prepared transaction.
    pub prepared: Option<String>,
    /// The role.
    pub user: Option<String>,
    /// `application_name`.
    pub application: Option<String>,
    /// `active`, `idle in transaction`, …; nothing where it may not be seen.
    pub state: Option<String>,
    /// `client backend`, `autovacuum worker`, …
    pub backend: Option<String>,
    /// How long its transaction has been open; nothing where it may not be seen.
    pub age: Option<Duration>,
    /// Its last statement, cut.
    pub query: Option<String>,
}

/// What sort of holder it is, as far as that changes what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HolderKind {
    /// A session of somebody's.
    Session,
    /// A session that does nothing inside its transaction.
    Idle,
    /// An autovacuum that gives way to whoever waits for it longer than `deadlock_timeout`.
    Autovacuum,
    /// An autovacuum that does not give way.
    Wraparound,
    /// A prepared transaction, which has no session and ends when somebody ends it.
    Prepared,
    /// A session that this role may not look into.
    Hidden,
}

impl Holder {
    /// What sort of holder it is.
    #[must_use]
    pub fn kind(&self) -> HolderKind {
        if self.prepared.is_some() || self.pid.is_none() {
            return HolderKind::Prepared;
        }
        if self.backend.as_deref() == Some("autovacuum worker") {
            let wraparound = self.query.as_deref().is_some_and(|query| query.contains("(to prevent wraparound)"));
            return if wraparound { HolderKind::Wraparound } else { HolderKind::Autovacuum };
        }
        match self.state.as_deref() {
            None => HolderKind::Hidden,
            Some(state) if state.starts_with("idle in transaction") => HolderKind::Idle,
            Some(_) => HolderKind::Session,
        }
    }
}

/// `pid 12 (role app, "psql", idle in transaction for 6.2 s) holds users: SELECT …`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.prepared, self.pid) {
            (Some(gid), _) => write!(f, "the prepared transaction '{gid}' (")?,
            (None, Some(pid)) if self.kind() == HolderKind::Autovacuum => write!(f, "autovacuum, pid {pid} (")?,
            (None, Some(pid)) => write!(f, "pid {pid} (")?,
            (None, None) => write!(f, "a prepared transaction (")?,
        }
        let mut facts = Vec::new();
        facts.extend(self.user.as_ref().map(|user| format!("role {user}")));
        facts.extend(self.application.as_ref().filter(|name| !name.is_empty()).map(|name| format!("\"{name}\"")));
        let state = match self.kind() {
            HolderKind::Prepared => "prepared",
            HolderKind::Hidden => "hidden from this role",
            _ => self.state.as_deref().unwrap_or("running"),
        };
        facts.push(match self.age {
            Some(age) => format!("{state} for {}", millis(age)),
            None => state.to_owned(),
        });
        write!(f, "{}) holds {}", facts.join(", "), self.relation)?;
        if let Some(query) = self.query.as_deref().filter(|query| !query.is_empty()) {
            let line = query.split_whitespace().collect::<Vec<_>>().join(" ");
            write!(f, ": {}", line.trim_end_matches(';'))?;
        }
        Ok(())
    }
}

/// Whether two lock modes exclude each other on one table (PostgreSQL documentation, table "Conflicting Lock Modes").
#[must_use]
pub fn conflicts(a: LockMode, b: LockMode) -> bool {
    use LockMode::{
        AccessExclusive, AccessShare, Exclusive, RowExclusive, RowShare, Share, ShareRowExclusive, ShareUpdateExclusive,
    };
    let (weak, strong) = if a <= b { (a, b) } else { (b, a) };
    match weak {
        AccessShare => strong == AccessExclusive,
        RowShare => strong >= Exclusive,
        RowExclusive => strong >= Share,
        // Share is the only one of the stronger modes that does not exclude itself.
        ShareUpdateExclusive => true,
        Share => strong > Share,
        ShareRowExclusive | Exclusive | AccessExclusive => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conflict_table_is_the_documented_one() {
        // Rows and columns in the order of LockMode::ALL; from the documentation of PostgreSQL 15, table 13.2.
        let documented = [
            "       x", // ACCESS SHARE
            "      xx", // ROW SHARE
            "    xxxx", // ROW EXCLUSIVE
            "   xxxxx", // SHARE UPDATE EXCLUSIVE
            "  xx xxx", // SHARE
            "  xxxxxx", // SHARE ROW EXCLUSIVE
            " xxxxxxx", // EXCLUSIVE
            "xxxxxxxx", // ACCESS EXCLUSIVE
        ];
        for (row, a) in documented.into_iter().zip(LockMode::ALL) {
            for (cell, b) in row.chars().zip(LockMode::ALL) {
                assert_eq!(conflicts(a, b), cell == 'x', "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_holder_is_named_with_what_is_known() {
        let holder = Holder {
            relation: "users".to_owned(),
            mode: Some(LockMode::AccessShare),
            pid: Some(12),
            user: Some("app".to_owned()),
            application: Some("web".to_owned()),
            state: Some("idle in transaction".to_owned()),
            age: Some(Duration::from_millis(6_200)),
            query: Some("SELECT *\n  FROM users;".to_owned()),
            ..Holder::default()
        };
        assert_eq!(holder.kind(), HolderKind::Idle);
        assert_eq!(
            holder.to_string(),
            "pid 12 (role app, \"web\", idle in transaction for 6.2 s) holds users: SELECT * FROM users"
        );
        let prepared = Holder { prepared: Some("x1".to_owned()), relation: "t".to_owned(), ..Holder::default() };
        assert_eq!(prepared.to_string(), "the prepared transaction 'x1' (prepared) holds t");
        let hidden = Holder { pid: Some(3), relation: "t".to_owned(), ..Holder::default() };
        assert_eq!(hidden.to_string(), "pid 3 (hidden from this role) holds t");
    }

    #[test]
    fn an_autovacuum_against_wraparound_does_not_give_way() {
        let worker = |query: &str| Holder {
            pid: Some(1),
            backend: Some("autovacuum worker".to_owned()),
            state: Some("active".to_owned()),
            query: Some(query.to_owned()),
            ..Holder::default()
        };
        assert_eq!(worker("autovacuum: VACUUM public.t").kind(), HolderKind::Autovacuum);
        assert_eq!(worker("autovacuum: VACUUM public.t (to prevent wraparound)").kind(), HolderKind::Wraparound);
    }
}
