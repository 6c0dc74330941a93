//! The sections of the configuration about the world around a run. They come from `migengine.toml` only, never from
//! migration files, and hold names of environment variables in place of secrets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::moment::Moment;

/// `[hooks]`: for each moment a program with its arguments.
pub type Hooks = BTreeMap<Moment, Vec<String>>;

/// `[export]`: the schema as a file, after every run that did what it was asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Where it goes, `schema.sql` for instance. Without it nothing is exported after a run.
    pub file: Option<PathBuf>,
    /// The program; found by itself where it is not said.
    pub pg_dump: Option<PathBuf>,
    /// More arguments for it.
    #[serde(default)]
    pub options: Vec<String>,
}

/// Ways to tell somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifyKind {
    /// JSON to a URL, signed.
    Webhook,
    /// Text to a Slack webhook.
    Slack,
    /// A mail over SMTP.
    Email,
    /// A program with the JSON on its standard input.
    Command,
}

/// How to speak with a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// Plain first, then STARTTLS; never plain beyond that.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Plain. For a server on this machine; refused with a password.
    None,
}

/// `[[notify]]`: somebody who is told. Which keys apply depends on `kind`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// How.
    pub kind: NotifyKind,
    /// Of what; by default what a person on duty wants to know.
    pub on: Option<Vec<Moment>>,
    /// The text; `{name}` stands for a field.
    pub template: Option<String>,
    /// How long one try may take.
    pub timeout: Option<String>,
    /// webhook: where to, when the address is no secret.
    pub url: Option<String>,
    /// webhook, slack: name of the variable that holds the address.
    pub url_env: Option<String>,
    /// webhook: name of the variable that holds the key of the signature.
    pub secret_env: Option<String>,
    /// email: host of the server.
    pub server: Option<String>,
    /// email: its port.
    pub port: Option<u16>,
    /// email: how.
    pub tls: Option<MailTls>,
    /// email: name of the account.
    pub user: Option<String>,
    /// email: name of the variable that holds its password.
    pub password_env: Option<String>,
    /// email: the sender's address.
    pub from: Option<String>,
    /// email: addresses to send to.
    pub to: Option<Vec<String>>,
    /// command: the program with its arguments.
    pub command: Option<Vec<String>>,
}
