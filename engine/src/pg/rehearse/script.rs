//! Runs scripts on a scratch database, statement by statement: no journal, no history, but exact about where it failed.

use std::time::{Duration, Instant};

use crate::migration::{Part, PartKind, Script};
use crate::pg::copy::pour;
use crate::pg::failure::{Fault, Site, fault};
use crate::pg::flight::{RESET, says_false, untrue};
use crate::pg::inserts::pour_inserts;
use crate::pg::send::ask;
use crate::pg::session::Session;
use crate::run::failure::Failure;
use crate::sql::Statement;

use super::meter::Meter;

/// What a script that does not go through leaves.
#[derive(Debug)]
pub(super) enum Broken {
    /// The server refused a statement. The session stands, its transaction is over or aborted.
    Refused(Box<Failure>),
    /// The session is gone.
    Lost(Box<Failure>),
}

impl Broken {
    pub(super) fn failure(&self) -> &Failure {
        match self {
            Self::Refused(failure) | Self::Lost(failure) => failure,
        }
    }

    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Refused(failure) | Self::Lost(failure) => *failure,
        }
    }
}

/// A session and how long a statement may take in it.
#[derive(Clone, Copy)]
pub(super) struct Runner<'a> {
    pub(super) session: &'a Session,
    pub(super) limit: Duration,
}

/// How long a statement that was cancelled may still take.
const MERCY: Duration = Duration::from_secs(5);

impl Runner<'_> {
    /// One message of ours.
    pub(super) async fn plain(&self, sql: &str) -> Result<(), Broken> {
        self.limited(None, self.session.client.batch_execute(sql)).await
    }

    /// Waits for the server, no longer than the limit: a script may have switched the server's own limit off.
    async fn limited<T>(
        &self,
        site: Option<Site<'_>>,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Broken> {
        self.bounded(site, async { work.await.map_err(|error| fault(&error, site)) }).await
    }

    async fn bounded<T>(
        &self,
        site: Option<Site<'_>>,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Broken> {
        tokio::pin!(work);
        let broken = |fault: Fault| match fault {
            Fault::Refused(failure) => Broken::Refused(self.explained(failure)),
            Fault::Lost(message) => {
                let what = format!("the session ended while this ran: {message}");
                let failure = Failure::own("ME603", what);
                Broken::Lost(Box::new(site.map_or(failure.clone(), |site| site.place(failure))))
            }
        };
        // The server's own limit comes first where it is in force; its message names the statement as well.
        match tokio::time::timeout(self.limit + MERCY, &mut work).await {
            Ok(result) => result.map_err(broken),
            Err(_) => {
                let _ignored = self.session.cancel.cancel().await;
                let failure = Failure::own("ME604", self.too_long());
                let failure = Box::new(site.map_or(failure.clone(), |site| site.place(failure)));
                match tokio::time::timeout(MERCY, &mut work).await {
                    Ok(_) => Err(Broken::Refused(failure)),
                    Err(_) => Err(Broken::Lost(failure)),
                }
            }
        }
    }

    fn too_long(&self) -> String {
        format!("the statement ran longer than the rehearsal's limit of {} s", self.limit.as_secs())
    }

    /// A session that was terminated says so with an error of its own; a statement over the limit too.
    fn explained(&self, mut failure: Box<Failure>) -> Box<Failure> {
        match failure.sqlstate.as_deref() {
            Some("57014") => {
                failure.code = "ME604".to_owned();
                failure.message = format!("{} ({})", self.too_long(), failure.message);
            }
            Some("57P01") => failure.code = "ME603".to_owned(),
            _ => {}
        }
        failure
    }

    /// A whole script, each part with its own COMMIT. `verify` runs in the last transaction, or after the last part.
    /// `mend` is asked after a part that failed; where it says yes, the part is tried again. `meter` measures.
    pub(super) async fn whole(
        &self,
        script: &Script,
        verify: Option<&Script>,
        mend: &mut dyn Mend,
        mut meter: Option<&mut Meter>,
    ) -> Result<(), Broken> {
        self.control(script).await?;
        let last = script.parts.len().saturating_sub(1);
        for (index, part) in script.parts.iter().enumerate() {
            let verify = verify.filter(|_| index == last);
            if let Some(meter) = meter.as_deref_mut() {
                meter.begin_part(index);
            }
            loop {
                let Err(broken) = self.part(script, (index, part), verify, meter.as_deref_mut()).await else { break };
                if matches!(broken, Broken::Refused(_)) {
                    let _ignored = self.plain("ROLLBACK").await;
                    let _ignored = self.reset().await;
                    if mend.mend(broken.failure()).await {
                        if let Some(meter) = meter.as_deref_mut() {
                            meter.begin_again();
                        }
                        continue;
                    }
                }
                return Err(broken);
            }
        }
        if script.parts.is_empty()
            && let Some(verify) = verify
        {
            self.plain("BEGIN").await?;
            self.checks(verify).await?;
            self.plain("COMMIT").await?;
        }
        self.reset().await
    }

    async fn part(
        &self,
        script: &Script,
        (index, part): (usize, &Part),
        verify: Option<&Script>,
        mut meter: Option<&mut Meter>,
    ) -> Result<(), Broken> {
        match &part.kind {
            PartKind::Transaction { begin } => {
                self.plain(&format!("BEGIN {}", begin.as_deref().unwrap_or_default())).await?;
                if let Some(meter) = meter.as_deref_mut() {
                    meter.baseline(self.session).await;
                }
                self.body(script, part, meter).await?;
                if let Some(verify) = verify {
                    self.checks(verify).await?;
                }
                self.plain("COMMIT").await
            }
            // Its rows are changed by the part after it.
            PartKind::Opening(_) => Ok(()),
            PartKind::Alone { .. } | PartKind::Chunked(_) => {
                if index > 0 {
                    for setting in script.settings_before(index) {
                        self.statement(script, setting).await?;
                    }
                }
                match meter {
                    Some(meter) => {
                        for at in part.statements.clone() {
                            let Some(statement) = script.statements.get(at) else { continue };
                            let work = self.statement(script, statement);
                            meter.alone(self.session, script, at, work).await?;
                        }
                    }
                    None => self.body(script, part, None).await?,
                }
                match verify {
                    Some(verify) => {
                        self.plain("BEGIN").await?;
                        self.checks(verify).await?;
                        self.plain("COMMIT").await
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// The author's own `BEGIN` and `COMMIT` are not sent, because the transaction is ours. The server reads them all the
    /// same: psql would stumble over a `COMMIT:`.
    pub(super) async fn control(&self, script: &Script) -> Result<(), Broken> {
        let in_a_part = |at: usize| script.parts.iter().any(|part| part.statements.contains(&at));
        for (_, statement) in script.statements.iter().enumerate().filter(|(at, _)| !in_a_part(*at)) {
            let sql = statement.sql(&script.text);
            let plain = ["begin", "commit", "end"].iter().any(|word| sql.eq_ignore_ascii_case(word));
            if !plain {
                self.limited(Some(Site::of(script, statement)), self.session.client.prepare(sql)).await?;
            }
        }
        Ok(())
    }

    /// The statements of a part, in whatever transaction is open.
    pub(super) async fn body(&self, script: &Script, part: &Part, mut meter: Option<&mut Meter>) -> Result<(), Broken> {
        for (at, statement) in part.statements.clone().zip(script.statements_of(part)) {
            let began = Instant::now();
            self.statement(script, statement).await?;
            if let Some(meter) = meter.as_deref_mut() {
                meter.look(self.session, script, at, began).await;
            }
        }
        Ok(())
    }

    async fn statement(&self, script: &Script, statement: &Statement) -> Result<(), Broken> {
        let site = Site::of(script, statement);
        let sql = statement.sql(&script.text);
        match script.copy_data(statement) {
            Some(data) => self.bounded(Some(site), pour(&self.session.client, sql, data, site)).await.map(|_| ()),
            None => self.limited(Some(site), self.session.client.batch_execute(sql)).await,
        }?;
        match script.inserts_behind(statement) {
            Some(block) => {
                let poured = pour_inserts(&self.session.client, script, statement, block);
                self.bounded(Some(site), poured).await.map(|_| ())
            }
            None => Ok(()),
        }
    }

    /// The checks of a verify script; leaves nothing behind.
    pub(super) async fn checks(&self, verify: &Script) -> Result<(), Broken> {
        self.plain("SAVEPOINT migengine_verify; SET TRANSACTION READ ONLY").await?;
        for statement in &verify.statements {
            let site = Site::of(verify, statement);
            let query = async {
                let sent = ask(&self.session.client, statement.sql(&verify.text)).await?;
                sent.answer().await.map_err(|(_, error)| error)
            };
            let answer = self.limited(Some(site), query).await?;
            if says_false(&answer.first_column) {
                return Err(Broken::Refused(Box::new(untrue(site))));
            }
        }
        self.plain("ROLLBACK TO SAVEPOINT migengine_verify").await
    }

    /// What a script left in its session is gone, as it would be in the next run.
    pub(super) async fn reset(&self) -> Result<(), Broken> {
        self.plain(&format!("{RESET}{}; DISCARD TEMP", self.session.settings_sql())).await
    }

    /// The same inside a transaction, where what a COMMIT would check is checked now.
    pub(super) async fn settle(&self) -> Result<(), Broken> {
        self.plain("SET CONSTRAINTS ALL IMMEDIATE").await?;
        self.reset().await
    }
}

/// Somebody who may know how to get rid of what stands in a script's way.
pub(super) trait Mend: Send {
    /// Whether the part that failed should be tried again.
    fn mend<'a>(&'a mut self, failure: &'a Failure) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
}

/// Leaves everything as it is.
pub(super) struct NoMending;

impl Mend for NoMending {
    fn mend<'a>(&'a mut self, _: &'a Failure) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(std::future::ready(false))
    }
}
