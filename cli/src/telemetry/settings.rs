//! The sections of the configuration about telemetry. Secrets stay in variables that they name.

use std::path::PathBuf;

use serde::Deserialize;

/// `[metrics]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// A file for Prometheus' node_exporter (`--collector.textfile.directory`); its name ends in `.prom`.
    pub textfile: Option<PathBuf>,
}

/// `[otlp]`: OpenTelemetry over HTTP, as JSON.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// Where to, without `/v1/traces`. Without it `OTEL_EXPORTER_OTLP_ENDPOINT` counts.
    pub endpoint: Option<String>,
    /// Name of the variable that holds headers, `name=value,name=value`. Without it `OTEL_EXPORTER_OTLP_HEADERS` counts.
    pub headers_env: Option<String>,
}

/// `[sentry]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentrySettings {
    /// Name of the variable that holds the DSN. Without it `SENTRY_DSN` counts.
    pub dsn_env: Option<String>,
}
