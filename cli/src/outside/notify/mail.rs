//! A mail over SMTP.

use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport as _};
use migengine_engine::pg::secret::Secret;

use super::super::http::Refused;
use super::super::post::Happening;
use super::super::settings::{MailTls, Notify};
use super::secret;
use crate::error::CommandError;

/// A mailbox that is written to.
pub(super) struct Mail {
    server: String,
    port: u16,
    tls: MailTls,
    account: Option<(String, Secret)>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    /// From the configuration; `missing` and `problem` make errors.
    ///
    /// # Errors
    /// A key is missing, or an address is none.
    pub(super) fn new(
        settings: &Notify,
        missing: &dyn Fn(&str) -> CommandError,
        problem: &dyn Fn(String) -> CommandError,
    ) -> Result<Self, CommandError> {
        let address =
            |text: &String| text.parse::<Mailbox>().map_err(|_| problem(format!("`{text}` is no mail address")));
        let to = settings.to.iter().flatten().map(address).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(missing("to"));
        }
        let tls = settings.tls.unwrap_or(MailTls::Starttls);
        let account = match (&settings.user, &settings.password_env) {
            (None, None) => None,
            (Some(_), None) => return Err(missing("password_env")),
            (None, Some(_)) => return Err(missing("user")),
            (Some(_), Some(_)) if tls == MailTls::None => {
                return Err(problem("a password is never sent without TLS: tls = \"starttls\"".to_owned()));
            }
            (Some(user), Some(variable)) => Some((user.clone(), secret(variable)?)),
        };
        let default_port = match tls {
            MailTls::Starttls => 587,
            MailTls::Tls => 465,
            MailTls::None => 25,
        };
        Ok(Self {
            server: settings.server.clone().ok_or_else(|| missing("server"))?,
            port: settings.port.unwrap_or(default_port),
            tls,
            account,
            from: address(settings.from.as_ref().ok_or_else(|| missing("from"))?)?,
            to,
        })
    }

    /// One try.
    pub(super) fn send(&self, happening: &Happening, text: &str, timeout: Duration) -> Result<(), Refused> {
        let never = |why: String| Refused { why, again: false };
        let body = format!("{text}\n\n{}\n", details(happening));
        let mut message = Message::builder().from(self.from.clone()).subject(text.lines().next().unwrap_or_default());
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message =
            message.header(ContentType::TEXT_PLAIN).body(body).map_err(|error| never(format!("no mail: {error}")))?;
        let parameters = || TlsParameters::new(self.server.clone()).map_err(|error| never(format!("no TLS: {error}")));
        let tls = match self.tls {
            MailTls::Starttls => Tls::Required(parameters()?),
            MailTls::Tls => Tls::Wrapper(parameters()?),
            MailTls::None => Tls::None,
        };
        let mut transport =
            SmtpTransport::builder_dangerous(&self.server).port(self.port).tls(tls).timeout(Some(timeout));
        if let Some((user, password)) = &self.account {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        match transport.build().send(&message) {
            Ok(_) => Ok(()),
            Err(error) => {
                let again = !error.is_permanent() && !untrusted(&error);
                Err(Refused { why: self.without_password(format!("the mail server: {error}")), again })
            }
        }
    }

    /// A server's words may quote what it was sent.
    fn without_password(&self, why: String) -> String {
        match &self.account {
            Some((_, password)) => why.replace(password.expose(), "***"),
            None => why,
        }
    }
}

/// Whether TLS failed, which it will the next time too.
fn untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_tls = |error: &(dyn std::error::Error + 'static)| {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>())
    };
    std::iter::successors(Some(error), |error| error.source()).any(of_tls)
}

/// The fields of the run, one a line.
fn details(happening: &Happening) -> String {
    let object = &happening.object;
    let fields = ["run_id", "kind", "state", "environment", "database", "host", "actor", "step", "next"];
    let lines = fields.iter().filter_map(|field| Some(format!("{field}: {}", object[*field].as_str()?)));
    lines.collect::<Vec<_>>().join("\n")
}
