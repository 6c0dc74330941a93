//! Sentry: a run as a transaction with its steps as spans, and an event where a run failed or needs a person. The protocol
//! is the `sentry` crate's; the request is made by the HTTP client that everything else here uses, so that there is one
//! TLS stack, one list of authorities and one time limit.

use std::time::{Duration, SystemTime};

use migengine_engine::id::Timestamp;
use migengine_engine::pg::secret::Secret;
use sentry::protocol::{
    Context, Event, Exception, Level, Map, Span as SentrySpan, SpanStatus, TraceContext, TraceId, Transaction,
};
use sentry::types::Dsn;
use sentry::{Envelope, protocol::SpanId};

use super::settings::SentrySettings;
use super::trace::{End, Span, Trace};
use super::{Exporter, PATIENCE};
use crate::error::CommandError;
use crate::execute::ENGINE;
use crate::outside::http::post;
use crate::outside::notify::secret;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_millis(PATIENCE.as_millis() as u64 * 9 / 10);
/// How this program calls itself.
const AGENT: &str = concat!("migengine/", env!("CARGO_PKG_VERSION"));

/// A project at Sentry.
pub struct Sentry {
    url: Secret,
    auth: Secret,
}

impl Sentry {
    /// From the configuration, or from `SENTRY_DSN`.
    ///
    /// # Errors
    /// ME719: the DSN is none; ME761: the variable is not set.
    pub fn new(
        settings: Option<&SentrySettings>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, CommandError> {
        let named = settings.and_then(|settings| settings.dsn_env.as_deref());
        let dsn = match named {
            Some(variable) => secret(variable)?,
            None => match env("SENTRY_DSN") {
                Some(dsn) => Secret::new(dsn),
                None => return Ok(None),
            },
        };
        // The library's words may quote the DSN.
        let parsed: Dsn = dsn.expose().parse().map_err(|_| {
            let variable = named.unwrap_or("SENTRY_DSN");
            CommandError::usage("ME719", format!("{variable} is no DSN: it looks like https://KEY@HOST/PROJECT"))
        })?;
        let url = Secret::new(parsed.envelope_api_url().to_string());
        Ok(Some(Self { url, auth: Secret::new(parsed.to_auth(Some(AGENT)).to_string()) }))
    }

    fn send(&self, envelope: &Envelope) -> Result<(), String> {
        let mut body = Vec::new();
        envelope.to_writer(&mut body).map_err(|error| error.to_string())?;
        let headers = [
            ("Content-Type".to_owned(), Secret::new("application/x-sentry-envelope")),
            ("X-Sentry-Auth".to_owned(), self.auth.clone()),
        ];
        post(&self.url, &headers, &body, TIMEOUT).map_err(|refused| refused.why)
    }
}

impl Exporter for Sentry {
    fn name(&self) -> &'static str {
        "Sentry"
    }

    fn export(&mut self, trace: &Trace) -> Result<(), String> {
        // What went wrong goes first: the limit of time is for both.
        let told = event(trace).map_or(Ok(()), |event| self.send(&event.into()));
        let traced = self.send(&transaction(trace).into());
        told.and(traced)
    }
}

/// The event of a run that failed or needs a person; nothing for the others. A statement is not sent, nor the server's
/// DETAIL: they may hold rows.
#[must_use]
pub fn event(trace: &Trace) -> Option<Event<'static>> {
    let level = match trace.outcome() {
        "failed" => Level::Error,
        "in_doubt" | "diverged" | "stuck" => Level::Fatal,
        "rolled_back" if trace.failure.is_some() => Level::Error,
        _ => return None,
    };
    let failure = trace.failure.as_deref();
    let rest = trace.rest.as_ref().map(|rest| rest.message.clone());
    let value = failure.map(|failure| failure.message.clone()).or(rest);
    let ty = failure.map_or(trace.outcome(), |failure| failure.sqlstate.as_deref().unwrap_or(&failure.code)).to_owned();
    let step = trace.failed_step.clone().or_else(|| trace.rest_step.clone()).unwrap_or_default();
    let fingerprint = vec!["migengine".into(), trace.outcome().into(), step.into(), ty.clone().into()];
    Some(Event {
        level,
        fingerprint: fingerprint.into(),
        transaction: Some(format!("migengine.{}", trace.kind.name())),
        timestamp: time(trace.ended.unwrap_or(trace.began)),
        release: Some(format!("migengine@{ENGINE}").into()),
        environment: trace.environment.clone().map(Into::into),
        exception: vec![Exception { ty, value, ..Exception::default() }].into(),
        tags: tags(trace),
        contexts: contexts(trace),
        ..Event::default()
    })
}

/// The run with its steps.
#[must_use]
pub fn transaction(trace: &Trace) -> Transaction<'static> {
    Transaction {
        name: Some(format!("migengine.{}", trace.kind.name())),
        release: Some(format!("migengine@{ENGINE}").into()),
        environment: trace.environment.clone().map(Into::into),
        tags: tags(trace),
        timestamp: Some(time(trace.ended.unwrap_or(trace.began))),
        start_timestamp: time(trace.began),
        spans: trace.spans.iter().map(|span| span_of(trace, span)).collect(),
        contexts: contexts(trace),
        ..Transaction::default()
    }
}

fn span_of(trace: &Trace, span: &Span) -> SentrySpan {
    let status = match span.end {
        End::Applied | End::Reversed => SpanStatus::Ok,
        End::Failed => SpanStatus::InternalError,
        End::InDoubt => SpanStatus::UnknownError,
        End::Cleared => SpanStatus::Aborted,
    };
    SentrySpan {
        span_id: span_id(&span.name.hex()),
        trace_id: TraceId::from(*trace.run.as_bytes()),
        parent_span_id: Some(span_id(&trace.root.hex())),
        op: Some(if span.reverse { "db.migration.reverse" } else { "db.migration" }.to_owned()),
        description: Some(span.step.clone()),
        timestamp: Some(time(span.ended)),
        start_timestamp: time(span.began),
        status: Some(status),
        ..SentrySpan::default()
    }
}

fn contexts(trace: &Trace) -> Map<String, Context> {
    let status = match trace.outcome() {
        "committed" | "rolled_back" => SpanStatus::Ok,
        "interrupted" => SpanStatus::Cancelled,
        _ => SpanStatus::InternalError,
    };
    let context = TraceContext {
        span_id: span_id(&trace.root.hex()),
        trace_id: TraceId::from(*trace.run.as_bytes()),
        op: Some("migengine.run".to_owned()),
        status: Some(status),
        ..TraceContext::default()
    };
    Map::from([("trace".to_owned(), context.into())])
}

fn tags(trace: &Trace) -> Map<String, String> {
    let failure = trace.failure.as_deref();
    let pairs = [
        ("run", Some(trace.run.to_string())),
        ("kind", Some(trace.kind.name().to_owned())),
        ("outcome", Some(trace.outcome().to_owned())),
        ("database", Some(trace.database.clone())),
        ("migration", trace.failed_step.clone().or_else(|| trace.rest_step.clone())),
        ("sqlstate", failure.and_then(|failure| failure.sqlstate.clone())),
        ("code", failure.map(|failure| failure.code.clone())),
    ];
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// Sixteen hexadecimal digits always are one.
fn span_id(hex: &str) -> SpanId {
    hex.parse().unwrap_or_default()
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or_default())
}
