//! The mail server: what the settings say of it, and handing it one message.
//!
//! A message is either taken, refused for good, or to be tried again; nothing of what the server says reaches the log,
//! since it quotes addresses. Every step has a bound, and the connection is dropped with whatever goes wrong on it.

use std::{fmt, time::Duration};

use lettre::{
    Message,
    message::Mailbox,
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        extension::ClientId,
    },
};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use url::{Host, Url};

/// How long connecting may take: TCP, TLS, greeting, login.
pub(super) const CONNECT: Duration = Duration::from_secs(20);
/// How long a message may take on a connection. Servers look at it before they take it.
pub(super) const MESSAGE: Duration = Duration::from_secs(30);
/// How long a kept connection may take to say that it is alive, and one that is not needed any more to end.
pub(super) const SHORT: Duration = Duration::from_secs(5);

/// Why the settings of mail are refused. Never quotes them: the URL has a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailSettingsError {
    /// Not a URL as they are described.
    #[error(
        "smtp_url is not understood: smtps://USER:PASSWORD@HOST, smtp://USER:PASSWORD@HOST?starttls or smtp://HOST"
    )]
    Url,
    /// A password that everybody on the way could read.
    #[error("smtp_url has a password and no TLS: use smtps:// or ?starttls")]
    PasswordInClear,
    /// TLS cannot be set up: the host has no name that a certificate could be for.
    #[error("smtp_url: TLS cannot be set up for this host")]
    Tls,
    /// Mail needs a sender.
    #[error("smtp_url is given and smtp_from is not")]
    NoSender,
    /// The sender is no address with a domain in ASCII.
    #[error("smtp_from is no e-mail address, as in Example <no-reply@example.com>")]
    Sender,
    /// Not what a secret can be appended to.
    #[error(
        "invitation_url must begin with http:// or https:// and have neither spaces nor control characters"
    )]
    InvitationUrl,
}

/// Whether what is said to the server can be read on the way.
#[derive(Clone)]
enum Security {
    /// It can.
    None,
    /// TLS from the first byte.
    Tls(TlsParameters),
    /// TLS before anything is said, or nothing is said.
    StartTls(TlsParameters),
}

/// A mail server and the sender that it knows. No `Debug`: it holds a password.
#[derive(Clone)]
pub(super) struct Smtp {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    pub(super) from: Mailbox,
}

/// What came of a message.
pub(super) enum Sent {
    /// The server has it.
    Taken,
    /// The server will never take it.
    Refused(u16),
    /// It may take it later.
    Failed(Failure),
}

/// Why a message was not taken, without a word of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It did not answer in time.
    Timeout,
    /// It said not now, or that the login is wrong.
    Answer(u16),
    /// The connection was refused, or broke, or is not trusted.
    Connection,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Answer(code) => write!(f, "the answer was {code}"),
            Self::Connection => f.write_str("no connection, or one that broke or is not trusted"),
        }
    }
}

impl From<lettre::transport::smtp::Error> for Failure {
    fn from(error: lettre::transport::smtp::Error) -> Self {
        match error.status() {
            Some(code) => Self::Answer(code.into()),
            None if error.is_timeout() => Self::Timeout,
            None => Self::Connection,
        }
    }
}

impl Smtp {
    /// Parses the settings.
    pub(super) fn parse(url: &str, from: &str) -> Result<Self, MailSettingsError> {
        // The domain names us to the server, and stands in the Message-ID.
        let from: Mailbox = from.parse().map_err(|_| MailSettingsError::Sender)?;
        if !from.email.domain().is_ascii() {
            return Err(MailSettingsError::Sender);
        }
        let url = Url::parse(url).map_err(|_| MailSettingsError::Url)?;
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(MailSettingsError::Url),
        };
        if !["", "/"].contains(&url.path()) || url.fragment().is_some() {
            return Err(MailSettingsError::Url);
        }
        let tls = || TlsParameters::new(host.clone()).map_err(|_| MailSettingsError::Tls);
        let (security, port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (Security::Tls(tls()?), 465),
            ("smtp", Some("starttls")) => (Security::StartTls(tls()?), 587),
            ("smtp", None) => (Security::None, 25),
            _ => return Err(MailSettingsError::Url),
        };
        let decoded = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| MailSettingsError::Url)
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) if !user.is_empty() => {
                Some(Credentials::new(decoded(user)?, decoded(password)?))
            }
            _ => return Err(MailSettingsError::Url),
        };
        let loopback = ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
        if credentials.is_some() && matches!(security, Security::None) && !loopback {
            return Err(MailSettingsError::PasswordInClear);
        }
        Ok(Self { host, port: url.port().unwrap_or(port), security, credentials, from })
    }

    /// Hands a message to the server, over the connection that `kept` has or a new one, which it keeps for the next
    /// message where all went well.
    pub(super) async fn send(&self, kept: &mut Option<AsyncSmtpConnection>, message: &Message) -> Sent {
        let mut connection = match self.connection(kept.take()).await {
            Ok(connection) => connection,
            Err(failure) => return Sent::Failed(failure),
        };
        match timeout(MESSAGE, connection.send(message.envelope(), &message.formatted())).await {
            Ok(Ok(_)) => {
                *kept = Some(connection);
                Sent::Taken
            }
            // Only of the message: a wrong login says 5xx as well, and that is the fault of no message.
            Ok(Err(error)) if error.is_permanent() => {
                Sent::Refused(error.status().map(u16::from).unwrap_or_default())
            }
            Ok(Err(error)) => Sent::Failed(error.into()),
            Err(_) => Sent::Failed(Failure::Timeout),
        }
    }

    /// The kept connection, if it is alive, or a new one.
    async fn connection(&self, kept: Option<AsyncSmtpConnection>) -> Result<AsyncSmtpConnection, Failure> {
        if let Some(mut kept) = kept
            && timeout(SHORT, kept.test_connected()).await == Ok(true)
        {
            return Ok(kept);
        }
        timeout(CONNECT, self.connect()).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        // The name of a container means nothing outside; the sender's domain does.
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        let wrapped = match &self.security {
            Security::Tls(parameters) => Some(parameters.clone()),
            Security::None | Security::StartTls(_) => None,
        };
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT), &hello, wrapped, None).await?;
        if let Security::StartTls(parameters) = &self.security {
            connection.starttls(parameters.clone(), &hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        Ok(connection)
    }
}

/// Ends a connection that is not needed any more, without anybody waiting for it.
pub(super) fn end(connection: Option<AsyncSmtpConnection>) {
    if let Some(mut connection) = connection {
        tokio::spawn(async move { timeout(SHORT, connection.abort()).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "Example <no-reply@example.com>";

    fn parsed(url: &str) -> Result<(String, u16, bool), MailSettingsError> {
        let Smtp { host, port, credentials, .. } = Smtp::parse(url, FROM)?;
        Ok((host, port, credentials.is_some()))
    }

    #[test]
    fn urls_are_read() {
        let read = |host: &str, port, password| Ok((host.to_owned(), port, password));
        assert_eq!(parsed("smtps://ada:p%40ss@mail.example.com"), read("mail.example.com", 465, true));
        assert_eq!(parsed("smtp://ada:pass@mail.example.com?starttls"), read("mail.example.com", 587, true));
        assert_eq!(parsed("smtp://relay:2525"), read("relay", 2525, false));
        assert_eq!(parsed("smtp://ada:pass@[::1]:25/"), read("::1", 25, true));
    }

    #[test]
    fn urls_that_say_something_else_are_refused() {
        for url in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp://relay?tls=required",
            "smtps://relay?starttls",
            "smtp://relay/path",
            "smtps://ada@relay",
            "smtps://:pass@relay",
            "smtp://relay:99999",
        ] {
            assert_eq!(parsed(url), Err(MailSettingsError::Url), "{url}");
        }
        assert_eq!(parsed("smtp://ada:pass@relay"), Err(MailSettingsError::PasswordInClear));
        assert!(matches!(Smtp::parse("smtp://relay", "nobody"), Err(MailSettingsError::Sender)));
        assert!(Smtp::parse("smtp://relay", "a@example.com\r\nBcc: b@example.com").is_err());
    }
}
