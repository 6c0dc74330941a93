//! OpenTelemetry over HTTP in its JSON encoding (OTLP 1.x, stable): one request with the spans of a run and one with its
//! metrics, when it is over or rests.
//!
//! Not by the SDK's crates: they bring protobuf, gRPC types and a second way to make HTTP requests for what are two
//! documents made from the journal's events, and what they are good at (context in running code, batches, samplers) has no
//! use here.

use std::time::Duration;

use migengine_engine::id::Timestamp;
use migengine_engine::pg::secret::Secret;
use serde_json::{Value, json};

use super::settings::OtlpSettings;
use super::trace::{End, Span, Trace, hex, seconds};
use super::{Exporter, PATIENCE};
use crate::error::CommandError;
use crate::execute::ENGINE;
use crate::outside::http::post;
use crate::outside::notify::secret;

/// Bounds of the histograms, in seconds.
const BOUNDS: [f64; 11] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0];
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_millis(PATIENCE.as_millis() as u64 * 9 / 10);

/// A collector.
pub struct Otlp {
    endpoint: Secret,
    headers: Vec<(String, Secret)>,
}

impl Otlp {
    /// From the configuration; the variables that OpenTelemetry names count where it says nothing.
    ///
    /// # Errors
    /// ME719: the address is none; ME761: a variable is not set.
    pub fn new(
        settings: Option<&OtlpSettings>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, CommandError> {
        let disabled = env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let configured = settings.and_then(|settings| settings.endpoint.clone());
        let Some(endpoint) = configured.or_else(|| env("OTEL_EXPORTER_OTLP_ENDPOINT")).filter(|_| !disabled) else {
            return Ok(None);
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            let what = "the endpoint of OTLP is no http:// or https:// address".to_owned();
            return Err(CommandError::usage("ME719", what).next("[otlp] endpoint = \"http://localhost:4318\""));
        }
        let headers = match settings.and_then(|settings| settings.headers_env.as_deref()) {
            Some(variable) => Some(secret(variable)?.expose().to_owned()),
            None => env("OTEL_EXPORTER_OTLP_HEADERS"),
        };
        let endpoint = Secret::new(endpoint.trim_end_matches('/'));
        Ok(Some(Self { endpoint, headers: headers_of(headers.as_deref().unwrap_or_default())? }))
    }

    fn send(&self, path: &str, body: &Value) -> Result<(), String> {
        let url = Secret::new(format!("{}{path}", self.endpoint.expose()));
        let mut headers = vec![("Content-Type".to_owned(), Secret::new("application/json"))];
        headers.extend(self.headers.iter().cloned());
        post(&url, &headers, body.to_string().as_bytes(), TIMEOUT).map_err(|refused| format!("{path}: {}", refused.why))
    }
}

/// `name=value,name=value`, as OpenTelemetry writes headers.
fn headers_of(text: &str) -> Result<Vec<(String, Secret)>, CommandError> {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), Secret::new(value.trim()))),
        _ => Err(CommandError::usage("ME719", "the headers of OTLP are not name=value pairs with commas between")),
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

impl Exporter for Otlp {
    fn name(&self) -> &'static str {
        "OTLP"
    }

    fn export(&mut self, trace: &Trace) -> Result<(), String> {
        let spans = self.send("/v1/traces", &spans_json(trace));
        let metrics = self.send("/v1/metrics", &metrics_json(trace));
        spans.and(metrics)
    }
}

/// The body of `/v1/traces`.
#[must_use]
pub fn spans_json(trace: &Trace) -> Value {
    let trace_id = hex(trace.run.as_bytes());
    let wrong = !matches!(trace.outcome(), "committed" | "rolled_back" | "interrupted");
    let message = trace.failure.as_ref().map(|failure| failure.message.clone());
    let mut spans = vec![json!({
        "traceId": trace_id,
        "spanId": trace.root.hex(),
        "name": format!("migengine.{}", trace.kind.name()),
        "kind": 1,
        "startTimeUnixNano": nanos(trace.began),
        "endTimeUnixNano": nanos(trace.ended.unwrap_or(trace.began)),
        "attributes": attributes(&[
            ("migengine.run", trace.run.to_string().into()),
            ("migengine.kind", trace.kind.name().into()),
            ("migengine.outcome", trace.outcome().into()),
            ("migengine.step", trace.rest_step.clone().into()),
            ("migengine.error.code", trace.failure.as_ref().map(|failure| failure.code.clone()).into()),
            ("db.response.status_code", trace.failure.as_ref().and_then(|failure| failure.sqlstate.clone()).into()),
        ]),
        "status": if wrong { json!({ "code": 2, "message": message.unwrap_or_default() }) } else { json!({ "code": 1 }) },
    })];
    spans.extend(trace.spans.iter().map(|span| span_json(trace, span, &trace_id)));
    json!({ "resourceSpans": [{ "resource": resource(trace), "scopeSpans": [{ "scope": scope(), "spans": spans }] }] })
}

fn span_json(trace: &Trace, span: &Span, trace_id: &str) -> Value {
    let wrong = matches!(span.end, End::Failed | End::InDoubt);
    json!({
        "traceId": trace_id,
        "spanId": span.name.hex(),
        "parentSpanId": trace.root.hex(),
        "name": span.step,
        "kind": 3,
        "startTimeUnixNano": nanos(span.began),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": attributes(&[
            ("migengine.step", span.step.clone().into()),
            ("migengine.direction", if span.reverse { "reverse" } else { "forward" }.into()),
            ("migengine.attempt", span.attempt.into()),
            ("migengine.outcome", span.end.name().into()),
        ]),
        "status": { "code": if wrong { 2 } else { 1 } },
    })
}

/// The body of `/v1/metrics`. What one process counts is a difference to what was before (delta).
#[must_use]
pub fn metrics_json(trace: &Trace) -> Value {
    let ended = trace.ended.unwrap_or(trace.began);
    let of_run = [("migengine.kind", trace.kind.name().into()), ("migengine.outcome", trace.outcome().into())];
    let count = |count: usize| {
        json!({
            "attributes": attributes(&of_run), "startTimeUnixNano": nanos(trace.began),
            "timeUnixNano": nanos(ended), "asInt": count.to_string(),
        })
    };
    let sum = |name: &str, unit: &str, point: Value| {
        json!({ "name": name, "unit": unit, "sum": {
            "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point],
        }})
    };
    let histogram = |attributes: Value, values: &[f64]| {
        json!({
            "attributes": attributes, "startTimeUnixNano": nanos(trace.began), "timeUnixNano": nanos(ended),
            "count": values.len().to_string(), "sum": values.iter().sum::<f64>(),
            "bucketCounts": buckets(values), "explicitBounds": BOUNDS,
        })
    };
    let histograms = |name: &str, points: Vec<Value>| json!({ "name": name, "unit": "s", "histogram": { "aggregationTemporality": 1, "dataPoints": points } });
    let ends = [End::Applied, End::Reversed, End::Failed, End::InDoubt];
    let of_steps = ends.into_iter().filter_map(|end| {
        let spans = trace.spans.iter().filter(|span| span.end == end);
        let took: Vec<f64> = spans.map(|span| seconds(span.began, span.ended)).collect();
        (!took.is_empty()).then(|| histogram(attributes(&[("migengine.outcome", end.name().into())]), &took))
    });
    let metrics = [
        sum("migengine.runs", "{run}", count(1)),
        sum("migengine.lock.retries", "{try}", count(trace.retries())),
        histograms("migengine.run.duration", vec![histogram(attributes(&of_run), &[seconds(trace.began, ended)])]),
        histograms("migengine.step.duration", of_steps.collect()),
    ];
    json!({ "resourceMetrics": [{
        "resource": resource(trace), "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
    }] })
}

fn buckets(values: &[f64]) -> Vec<String> {
    let mut counts = [0_u64; BOUNDS.len() + 1];
    for value in values {
        let place = BOUNDS.iter().position(|bound| value <= bound).unwrap_or(BOUNDS.len());
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    }
    counts.iter().map(ToString::to_string).collect()
}

fn resource(trace: &Trace) -> Value {
    json!({ "attributes": attributes(&[
        ("service.name", "migengine".into()),
        ("service.version", ENGINE.into()),
        ("deployment.environment.name", trace.environment.clone().into()),
        ("db.system.name", "postgresql".into()),
        ("db.namespace", trace.database.clone().into()),
        ("server.address", trace.host.clone().into()),
    ]) })
}

fn scope() -> Value {
    json!({ "name": "migengine", "version": ENGINE })
}

/// Attributes; those without a value are left out.
fn attributes(pairs: &[(&str, Value)]) -> Value {
    let typed = |(key, value): &(&str, Value)| {
        let value = match value {
            Value::String(text) => json!({ "stringValue": text }),
            Value::Number(number) => json!({ "intValue": number.to_string() }),
            _ => return None,
        };
        Some(json!({ "key": key, "value": value }))
    };
    pairs.iter().filter_map(typed).collect()
}

/// 64-bit numbers are text in this encoding.
fn nanos(at: Timestamp) -> String {
    (i128::from(at.0) * 1000).to_string()
}
