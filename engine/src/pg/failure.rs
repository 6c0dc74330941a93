//! From a driver's error to what we know: refused (certainly no effect) or lost (unknown).

use super::sqlstate::{Lost, ServerError};
use crate::migration::Script;
use crate::run::failure::Failure;
use crate::sql::Statement;

/// Why a message did not do what it should.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server refused it: certainly without effect.
    Refused(Box<Failure>),
    /// The session ended before the answer came.
    Lost(String),
}

impl Fault {
    /// The same, with the place of a statement where the server refused it.
    pub(crate) fn placed(self, site: Site<'_>) -> Self {
        match self {
            Self::Refused(failure) => Self::Refused(Box::new(site.place(*failure))),
            lost @ Self::Lost(_) => lost,
        }
    }

    /// For people.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Refused(failure) => &failure.message,
            Self::Lost(why) => why,
        }
    }
}

/// Where in a file something was sent from.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) script: &'a Script,
    pub(crate) statement: Option<&'a Statement>,
    /// Byte offset in the file of the first byte of the message, which the server's positions count from.
    pub(crate) sent_from: Option<usize>,
    /// Characters of ours in front of it, in the same message.
    pub(crate) ahead: u32,
}

/// Longest excerpt of a statement kept with a failure, in characters.
const EXCERPT: usize = 400;

/// The beginning of a statement.
pub(crate) fn excerpt(sql: &str) -> String {
    match sql.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", sql.get(..end).unwrap_or_default()),
        None => sql.to_owned(),
    }
}

impl<'a> Site<'a> {
    /// One statement, sent alone.
    pub(crate) fn of(script: &'a Script, statement: &'a Statement) -> Self {
        Self { script, statement: Some(statement), sent_from: Some(statement.text.start as usize), ahead: 0 }
    }

    /// A script as a whole.
    pub(crate) fn whole(script: &'a Script) -> Self {
        Self { script, statement: None, sent_from: None, ahead: 0 }
    }

    /// The same with something of ours in front.
    pub(crate) fn behind(self, ours: &str) -> Self {
        Self { ahead: u32::try_from(ours.chars().count()).unwrap_or_default(), ..self }
    }

    /// Adds file, line, column and statement to a failure. `character` is the server's position, from 1, in what was
    /// sent.
    fn place_at(&self, failure: Failure, character: Option<u32>) -> Failure {
        let exact = character.zip(self.sent_from).and_then(|(character, from)| {
            let sent = self.script.text.get(from..)?;
            let (offset, _) = sent.char_indices().nth(character.checked_sub(self.ahead + 1)? as usize)?;
            Some(from + offset)
        });
        self.place_exactly(failure, exact)
    }

    /// `exact` is a byte of the file; without it the statement's own place counts.
    fn place_exactly(&self, mut failure: Failure, exact: Option<usize>) -> Failure {
        failure.file = Some(self.script.file.clone());
        let text: &str = &self.script.text;
        // The server's position names the statement better than counting answers does.
        let statement = exact
            .and_then(|offset| self.script.statements.iter().find(|statement| statement.text.range().contains(&offset)))
            .or(self.statement);
        let offset = exact.or(statement.map(|statement| statement.text.start as usize));
        if let Some(offset) = offset {
            let position = self.script.text.position(offset);
            failure.line = Some(position.line);
            failure.column = Some(position.column);
        }
        failure.statement = statement.map(|statement| excerpt(statement.sql(text)));
        failure
    }

    /// Adds the place of the statement itself.
    pub(crate) fn place(&self, failure: Failure) -> Failure {
        self.place_at(failure, None)
    }
}

/// Classifies an error of the driver.
pub(crate) fn fault(error: &tokio_postgres::Error, site: Option<Site<'_>>) -> Fault {
    classified(error, |failure, position| match site {
        Some(site) => site.place_at(failure, position),
        None => failure,
    })
}

/// Classifies an error about a statement that was sent in another form than it has in the file. `place` leads from a
/// character of what was sent to a byte of the file.
pub(crate) fn fault_placed(
    error: &tokio_postgres::Error,
    site: Site<'_>,
    place: impl Fn(u32) -> Option<usize>,
) -> Fault {
    classified(error, |failure, position| site.place_exactly(failure, position.and_then(place)))
}

fn classified(error: &tokio_postgres::Error, place: impl FnOnce(Failure, Option<u32>) -> Failure) -> Fault {
    match ServerError::from_pg(error) {
        Ok(server) => {
            let code = match server.code.as_str() {
                "ME001" => "ME330",
                "ME002" => "ME406",
                "ME444" => "ME441",
                _ => "ME401",
            };
            let failure = Failure {
                code: code.to_owned(),
                message: server.message.clone(),
                sqlstate: Some(server.code.clone()),
                detail: server.detail.clone(),
                hint: server.hint.clone(),
                context: server.where_.clone(),
                objects: [
                    server.schema.clone().unwrap_or_default(),
                    server.table.clone().unwrap_or_default(),
                    server.column.clone().unwrap_or_default(),
                    server.constraint.clone().unwrap_or_default(),
                ],
                ..Failure::default()
            };
            Fault::Refused(Box::new(place(failure, server.position)))
        }
        Err(Lost { message, .. }) => Fault::Lost(message),
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        fault(&error, None)
    }
}
