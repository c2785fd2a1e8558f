//! Sends what is in the outbox, one message at a time, on every replica.
//!
//! A replica claims a mail, writes it with the names of that moment, hands it to the mail server, and drops the row once
//! that has taken it. It ends in time to be sure that the claim is its own still. So a mail is not lost: who is killed in
//! the middle leaves a row that is due again when the claim is over. It may arrive twice, if the end came between the
//! server's answer and the drop; then both have the same `Message-ID`.
//!
//! What is not delivered within a day is dropped, also where no mail server is set. Neither addresses nor names nor what
//! the mail server says are in the log.

mod smtp;
mod templates;

use std::{sync::Arc, time::Duration};

use lettre::{
    Address, Message,
    message::{
        Mailbox, SinglePart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::client::AsyncSmtpConnection,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::smtp::MailSettingsError;
use self::smtp::{CONNECT, MESSAGE, SHORT, Sent, Smtp};
use crate::{
    seal::{Purpose, Seal},
    storage::{Database, InvitationToSend, MailRow, StorageError},
};

/// How often an empty outbox is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often what is too old is dropped.
const DROP_EVERY: Duration = Duration::from_secs(5);
/// How long a mail is kept: it holds an address, and after a day nobody needs to be told.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// For how long a mail is claimed.
const CLAIM: Duration = Duration::from_secs(120);
/// Within this time of the claim, by the clock of this process, sending must have begun. With all the bounds of sending it
/// is below [`CLAIM`], so that no other replica sends the same mail at the same time.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);
const _: () = assert!(
    BEGIN_WITHIN.as_secs() + SHORT.as_secs() + CONNECT.as_secs() + MESSAGE.as_secs() < CLAIM.as_secs(),
    "a mail could be sent after its claim"
);
/// After the first failure; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait: a mail server that comes back gets its mail within the hour.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// What a message on its way may take at the end of the service, within the time of its drain.
const AT_THE_END: Duration = Duration::from_secs(5);

/// How mail is delivered. No `Debug`: it holds a password.
#[derive(Clone)]
pub struct Delivery {
    smtp: Smtp,
    /// The address to open, before the secret. None: the secret is shown instead.
    invitation_url: Option<String>,
}

impl Delivery {
    /// Parses the settings. None: no mail server is set.
    pub fn parse(
        smtp_url: Option<&str>,
        smtp_from: Option<&str>,
        invitation_url: Option<&str>,
    ) -> Result<Option<Self>, MailSettingsError> {
        let fits = |url: &str| {
            (url.starts_with("https://") || url.starts_with("http://"))
                && url.chars().all(|character| !character.is_whitespace() && !character.is_control())
        };
        if invitation_url.is_some_and(|url| !fits(url)) {
            return Err(MailSettingsError::InvitationUrl);
        }
        let Some(url) = smtp_url else { return Ok(None) };
        let smtp = Smtp::parse(url, smtp_from.ok_or(MailSettingsError::NoSender)?)?;
        Ok(Some(Self { smtp, invitation_url: invitation_url.map(str::to_owned) }))
    }
}

/// Sends and drops until the shutdown.
pub async fn run(
    database: Database,
    seal: Arc<Seal>,
    delivery: Option<Delivery>,
    shutdown: CancellationToken,
) {
    let sending = async {
        match delivery {
            Some(delivery) => {
                let sender = Sender { database: database.clone(), seal, delivery, connection: None };
                sender.run(&shutdown).await;
            }
            None => {
                tracing::warn!("no mail server is set (smtp_url): mail is kept for a day and not sent");
                shutdown.cancelled().await;
            }
        }
    };
    tokio::join!(sending, drop_old(&database, &shutdown));
}

async fn drop_old(database: &Database, shutdown: &CancellationToken) {
    loop {
        match database.drop_old_mails(LIFETIME).await {
            Ok(0) => {}
            Ok(dropped) => {
                measure("dropped", dropped as u64);
                tracing::warn!(dropped, "mails were not delivered within a day, and dropped");
            }
            Err(error) => tracing::debug!(%error, "old mails cannot be dropped; it is tried again"),
        }
        if shutdown.run_until_cancelled(sleep(DROP_EVERY)).await.is_none() {
            return;
        }
    }
}

fn measure(outcome: &'static str, mails: u64) {
    metrics::counter!("rollcall_mails_total", "outcome" => outcome).increment(mails);
}

/// The one sender of a replica.
struct Sender {
    database: Database,
    seal: Arc<Seal>,
    delivery: Delivery,
    /// Kept while there is more to send.
    connection: Option<AsyncSmtpConnection>,
}

impl Sender {
    async fn run(mut self, shutdown: &CancellationToken) {
        // There from the start: the first one is to be seen as a step.
        for outcome in ["sent", "failed", "refused", "dropped"] {
            measure(outcome, 0);
        }
        while !shutdown.is_cancelled() {
            // One message to its end: cut off in the middle it might arrive twice.
            let ending = async {
                shutdown.cancelled().await;
                sleep(AT_THE_END).await;
            };
            let more = tokio::select! {
                more = self.next() => more,
                () = ending => return,
            };
            let more = more.unwrap_or_else(|error| {
                tracing::debug!(%error, "the outbox cannot be read; it is tried again");
                false
            });
            if !more {
                smtp::end(self.connection.take());
                shutdown.run_until_cancelled(sleep(EVERY)).await;
            }
        }
        smtp::end(self.connection.take());
    }

    /// Takes the next mail and settles it. False: none is due.
    async fn next(&mut self) -> Result<bool, StorageError> {
        let claim = Uuid::new_v4();
        // Before the statement: the claim counts from a later moment than this.
        let claimed = Instant::now();
        let Some(mail) = self.database.claim_mail(claim, CLAIM, LIFETIME).await? else { return Ok(false) };
        let (id, kind) = (mail.id, mail.kind.as_str());
        let Some(message) = self.message(&mail) else {
            tracing::debug!(mail.id = %id, mail.kind = kind, "what a mail was about has passed; it is dropped");
            self.finish(id, claim, claimed).await;
            return Ok(true);
        };
        if claimed.elapsed() > BEGIN_WITHIN {
            tracing::debug!(mail.id = %id, "a mail was claimed too long ago; its claim passes");
            return Ok(true);
        }
        match self.delivery.smtp.send(&mut self.connection, &message).await {
            Sent::Taken => {
                measure("sent", 1);
                tracing::debug!(mail.id = %id, mail.kind = kind, attempts = mail.attempts, "a mail was sent");
                self.finish(id, claim, claimed).await;
            }
            Sent::Refused(code) => {
                measure("refused", 1);
                tracing::warn!(mail.id = %id, mail.kind = kind, code, "the mail server refuses a mail; it is dropped");
                self.finish(id, claim, claimed).await;
            }
            Sent::Failed(why) => {
                measure("failed", 1);
                let wait = wait_after(mail.attempts, id.as_bytes()[15]);
                tracing::warn!(mail.id = %id, mail.kind = kind, attempts = mail.attempts, %why, wait_s = wait.as_secs(),
                    "a mail was not sent; it is tried again");
                self.database.postpone_mail(id, claim, wait).await?;
            }
        }
        Ok(true)
    }

    /// Drops a mail for good. While the database is away it is tried as long as the claim lasts: a mail that was sent and
    /// stays would be sent again.
    async fn finish(&self, mail: Uuid, claim: Uuid, claimed: Instant) {
        let finishing = async {
            while let Err(error) = self.database.finish_mail(mail, claim).await {
                tracing::debug!(%error, "a mail that is done cannot be dropped; it is tried again");
                sleep(EVERY).await;
            }
        };
        if timeout(CLAIM.saturating_sub(claimed.elapsed()), finishing).await.is_err() {
            tracing::warn!(mail.id = %mail, "a mail that is done could not be dropped; it may arrive twice");
        }
    }

    /// Writes a mail. None: what it was about has passed, or the address cannot be written.
    fn message(&self, mail: &MailRow) -> Option<Message> {
        let secret = mail.invitation.as_ref().map(|invitation| self.secret(invitation));
        let url = self.delivery.invitation_url.as_ref();
        let link = secret.as_ref().and_then(|secret| url.map(|url| format!("{url}{secret}")));
        let invitation = mail.invitation.as_ref().zip(secret.as_deref());
        let facts = templates::Facts {
            organization: mail.organization.as_deref(),
            workspace: mail.workspace.as_deref(),
            member: mail.member.as_deref(),
            return_time: mail.return_time,
            invitation: invitation.map(|(invitation, secret)| templates::Invitation {
                link: link.as_deref(),
                secret,
                expire_time: invitation.expire_time,
            }),
        };
        let text = templates::text(mail.kind, mail.language, &facts)?;
        message(&self.delivery.smtp.from, mail, text)
    }

    /// What accepts an invitation: derived, so that it is stored nowhere.
    fn secret(&self, invitation: &InvitationToSend) -> String {
        let InvitationToSend { organization, invitation, generation, .. } = invitation;
        let mut payload = organization.0.as_bytes().to_vec();
        payload.extend(invitation.0.as_bytes());
        payload.extend(generation.to_be_bytes());
        self.seal.seal(Purpose::Invitation, &payload)
    }
}

/// A subject in which no name is taken for an encoded word (RFC 2047): what stands in one was not looked at when the name
/// was checked.
fn plain(subject: &str) -> String {
    subject.replace("=?", "= ?")
}

/// A message as the mail server gets it. Headers are encoded by the library, so that a name cannot become one.
fn message(from: &Mailbox, mail: &MailRow, text: templates::Text) -> Option<Message> {
    let (local, domain) = mail.recipient.rsplit_once('@')?;
    // In ASCII, which every server knows; the part before it has no such form.
    let to = Address::new(local, idna::domain_to_ascii(domain).ok()?).ok()?;
    // RFC 3834: nobody's absence note answers it.
    let automatic =
        HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(plain(&text.subject))
        .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
        .raw_header(automatic)
        .singlepart(SinglePart::plain(text.body));
    message.ok()
}

/// How long to wait after this many attempts: twice as long each time, and between half and all of it, so that what failed
/// together does not come back together.
fn wait_after(attempts: i32, random: u8) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or_default().min(16);
    let longest = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
    longest.mul_f64(0.5 + f64::from(random) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{MailKind, roles::Language};

    fn mail(recipient: &str) -> MailRow {
        MailRow {
            id: Uuid::from_u128(1),
            kind: MailKind::Removed,
            recipient: recipient.to_owned(),
            language: Language::De,
            attempts: 1,
            organization: Some("Bücher\r\nBcc: eve@example.com".to_owned()),
            workspace: None,
            member: None,
            return_time: None,
            invitation: None,
        }
    }

    fn written(recipient: &str) -> Option<String> {
        let mail = mail(recipient);
        let facts =
            templates::Facts { organization: mail.organization.as_deref(), ..templates::Facts::default() };
        // Also past the templates, which have cleaned the name already.
        let mut text = templates::text(mail.kind, mail.language, &facts).expect("a text");
        text.subject.push_str("\r\nBcc: eve@example.com");
        let from = "Example <no-reply@example.com>".parse().expect("an address");
        let message = message(&from, &mail, text)?;
        assert_eq!(message.envelope().to().len(), 1);
        Some(String::from_utf8(message.formatted()).expect("encoded"))
    }

    #[test]
    fn no_name_becomes_a_header() {
        let written = written("ada@example.com").expect("a message");
        assert!(written.is_ascii());
        let (headers, _) = written.split_once("\r\n\r\n").expect("a body");
        let names: Vec<&str> = headers
            .split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .filter_map(|line| line.split_once(':').map(|(name, _)| name))
            .collect();
        assert!(!names.contains(&"Bcc"), "{headers}");
        assert!(names.contains(&"Auto-Submitted"), "{headers}");
        assert!(
            headers.contains("Message-ID: <00000000-0000-0000-0000-000000000001@example.com>"),
            "{headers}"
        );
        assert_eq!(self::written("ada@example.com\r\nBcc: eve@example.com"), None);
        assert_eq!(self::written("ada@example.com, eve@example.com"), None);
    }

    #[test]
    fn no_name_is_taken_for_an_encoded_word() {
        // Decoded it would be a text that turns the reading direction around.
        assert_eq!(plain("Acme =?utf-8?b?4oCuZ3Bq?= Co"), "Acme = ?utf-8?b?4oCuZ3Bq?= Co");
    }

    #[test]
    fn waits_grow_and_differ_and_end() {
        assert_eq!(wait_after(1, 0), FIRST_WAIT / 2);
        assert!(wait_after(1, 255) < FIRST_WAIT && wait_after(1, 255) > wait_after(1, 0));
        assert_eq!(wait_after(3, 0), FIRST_WAIT * 2);
        assert_eq!(wait_after(100, 0), LONGEST_WAIT / 2);
        assert_eq!(wait_after(0, 0), FIRST_WAIT / 2);
    }

    #[test]
    fn without_a_server_nothing_is_delivered_and_half_a_setting_is_refused() {
        assert!(matches!(Delivery::parse(None, None, None), Ok(None)));
        let parsed = |from, link| Delivery::parse(Some("smtp://relay"), from, link).map(|_| ());
        assert_eq!(parsed(None, None), Err(MailSettingsError::NoSender));
        assert_eq!(parsed(Some("no-reply@example.com"), Some("https://example.com/join?secret=")), Ok(()));
        for link in
            ["example.com/join", "javascript:alert(1)", "https://example.com/a b", "https://example.com/\r\n"]
        {
            assert_eq!(
                parsed(Some("no-reply@example.com"), Some(link)),
                Err(MailSettingsError::InvitationUrl)
            );
        }
    }
}
