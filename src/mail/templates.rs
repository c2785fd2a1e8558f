//! The texts of the mails: each kind in each language, as plain text.
//!
//! A text names what the mail is about by the names of today. One that cannot be written any more, because what it would
//! say has passed, is none.

use chrono::{DateTime, Utc};

use crate::rules::{MailKind, roles::Language};

/// What a text names.
#[derive(Clone, Copy, Default)]
pub(super) struct Facts<'a> {
    /// The name of the organization.
    pub(super) organization: Option<&'a str>,
    /// The name of the workspace.
    pub(super) workspace: Option<&'a str>,
    /// The shown name of the member whose return is due. Empty: not known.
    pub(super) member: Option<&'a str>,
    /// When that return was planned.
    pub(super) return_time: Option<DateTime<Utc>>,
    /// What the invited person needs.
    pub(super) invitation: Option<Invitation<'a>>,
}

/// What an invited person needs.
#[derive(Clone, Copy)]
pub(super) struct Invitation<'a> {
    /// The address to open, the secret included. None: the secret is shown instead.
    pub(super) link: Option<&'a str>,
    /// What accepts the invitation.
    pub(super) secret: &'a str,
    /// Until when.
    pub(super) expire_time: DateTime<Utc>,
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) subject: String,
    pub(super) body: String,
}

/// Characters of a name at most: a longer one is more likely a text of its own, sent under our name.
const NAME: usize = 100;

/// Writes a mail. None: what it would say has passed.
pub(super) fn text(kind: MailKind, language: Language, facts: &Facts<'_>) -> Option<Text> {
    let organization = facts.organization.map(|name| quoted(name, language));
    let workspace = facts.workspace.map(|name| quoted(name, language));
    let (subject, body) = match language {
        Language::En => english(kind, facts, organization.as_deref(), workspace.as_deref()),
        Language::De => german(kind, facts, organization.as_deref(), workspace.as_deref()),
    }?;
    let end = match language {
        Language::En => "This message was sent automatically. Answers to it are not read.",
        Language::De => "Diese Nachricht wurde automatisch versandt. Antworten darauf werden nicht gelesen.",
    };
    Some(Text { subject, body: format!("{body}\n\n--\n{end}\n") })
}

fn english(
    kind: MailKind,
    facts: &Facts<'_>,
    organization: Option<&str>,
    workspace: Option<&str>,
) -> Option<(String, String)> {
    let come_back = "To come back, ask an owner or an admin of the organization.";
    Some(match (kind, workspace) {
        (MailKind::Invitation, _) => {
            let (organization, Invitation { link, secret, expire_time }) = (organization?, facts.invitation?);
            let how = match link {
                Some(link) => format!("To accept, open this address:\n\n{link}"),
                None => format!("To accept, enter this code where you are asked for it:\n\n{secret}"),
            };
            let until = minute(expire_time);
            (
                format!("Invitation to {organization}"),
                format!(
                    "You have been invited to the organization {organization}.\n\n{how}\n\nThe invitation can be \
                     accepted until {until}. If you do not want to, there is nothing to do."
                ),
            )
        }
        // R17: without the organization, where the access to that goes on.
        (MailKind::DeactivatedInWorkspace, _) => {
            let workspace = workspace?;
            (
                format!("Your access to {workspace} has ended"),
                format!(
                    "Your access to the workspace {workspace} has been deactivated. Everything else stays open to \
                     you.\n\nTo come back, ask an admin of the workspace."
                ),
            )
        }
        (MailKind::DeactivatedInWorkspaceAndOrganization, Some(workspace)) => {
            let organization = organization?;
            (
                format!("Your access to {workspace} and to {organization} has ended"),
                format!(
                    "Your access to the workspace {workspace} has ended. It was the last one that was open to you in \
                     the organization {organization}, so your access to the organization has been deactivated too.\
                     \n\n{come_back}"
                ),
            )
        }
        (MailKind::DeactivatedInOrganization | MailKind::DeactivatedInWorkspaceAndOrganization, _) => {
            let organization = organization?;
            (
                format!("Your access to {organization} has ended"),
                format!(
                    "Your access to the organization {organization} and to everything in it has been deactivated.\
                     \n\n{come_back}"
                ),
            )
        }
        (MailKind::Reactivated, Some(workspace)) => {
            let organization = organization?;
            (
                format!("You have access to {workspace} again"),
                format!(
                    "You have access to the workspace {workspace} of the organization {organization} again."
                ),
            )
        }
        (MailKind::Reactivated, None) => {
            let organization = organization?;
            (
                format!("You have access to {organization} again"),
                format!("You have access to the organization {organization} again."),
            )
        }
        (MailKind::Removed, Some(workspace)) => {
            let organization = organization?;
            (
                format!("You are no longer in {workspace}"),
                format!(
                    "You are no longer a member of the workspace {workspace} of the organization {organization}."
                ),
            )
        }
        (MailKind::Removed, None) => {
            let organization = organization?;
            (
                format!("You are no longer in {organization}"),
                format!(
                    "You have been removed from the organization {organization} and from everything in it. Your \
                     account stays."
                ),
            )
        }
        (MailKind::Erased, _) => {
            let organization = organization?;
            (
                format!("Your personal data in {organization} has been erased"),
                format!(
                    "Your personal data in the organization {organization} has been erased. What you have written \
                     there stays, without your name. This cannot be undone."
                ),
            )
        }
        (MailKind::AccountDeleted, _) => (
            "Your account has been deleted".to_owned(),
            "Your account has been deleted, and your personal data with it. What you have written stays where it is, \
             without your name. This cannot be undone."
                .to_owned(),
        ),
        (MailKind::ReturnDue, _) => {
            let (organization, on) = (organization?, day(facts.return_time?));
            let member = named(facts, Language::En).unwrap_or_else(|| "A member".to_owned());
            (
                format!("A planned return to {organization}"),
                format!(
                    "{member} was planned to return to the organization {organization} on {on}, and is deactivated \
                     still. Nothing happens by itself: an owner or an admin can reactivate the member."
                ),
            )
        }
        (MailKind::OrganizationDeleted, _) => {
            let organization = organization?;
            (
                format!("{organization} has been deleted"),
                format!(
                    "The organization {organization} has been deleted, and all of its workspaces with it. Your \
                     account stays."
                ),
            )
        }
    })
}

fn german(
    kind: MailKind,
    facts: &Facts<'_>,
    organization: Option<&str>,
    workspace: Option<&str>,
) -> Option<(String, String)> {
    let come_back = "Wenn Sie zurückkehren möchten, wenden Sie sich an die Inhaber oder Administratoren der \
                     Organisation.";
    Some(match (kind, workspace) {
        (MailKind::Invitation, _) => {
            let (organization, Invitation { link, secret, expire_time }) = (organization?, facts.invitation?);
            let how = match link {
                Some(link) => format!("Um sie anzunehmen, öffnen Sie diese Adresse:\n\n{link}"),
                None => {
                    format!("Um sie anzunehmen, geben Sie dort, wo Sie gefragt werden, diesen Code ein:\n\n{secret}")
                }
            };
            let until = minute(expire_time);
            (
                format!("Einladung zu {organization}"),
                format!(
                    "Sie haben eine Einladung zur Organisation {organization} erhalten.\n\n{how}\n\nDie Einladung \
                     kann bis {until} angenommen werden. Wenn Sie das nicht möchten, ist nichts zu tun."
                ),
            )
        }
        // R17: without the organization, where the access to that goes on.
        (MailKind::DeactivatedInWorkspace, _) => {
            let workspace = workspace?;
            (
                format!("Ihr Zugang zu {workspace} ist beendet"),
                format!(
                    "Ihr Zugang zum Arbeitsbereich {workspace} wurde deaktiviert. Alles andere steht Ihnen weiterhin \
                     offen.\n\nWenn Sie zurückkehren möchten, wenden Sie sich an die Administratoren des \
                     Arbeitsbereichs."
                ),
            )
        }
        (MailKind::DeactivatedInWorkspaceAndOrganization, Some(workspace)) => {
            let organization = organization?;
            (
                format!("Ihr Zugang zu {workspace} und zu {organization} ist beendet"),
                format!(
                    "Ihr Zugang zum Arbeitsbereich {workspace} ist beendet. Es war der letzte, der Ihnen in der \
                     Organisation {organization} offenstand; deshalb wurde auch Ihr Zugang zur Organisation \
                     deaktiviert.\n\n{come_back}"
                ),
            )
        }
        (MailKind::DeactivatedInOrganization | MailKind::DeactivatedInWorkspaceAndOrganization, _) => {
            let organization = organization?;
            (
                format!("Ihr Zugang zu {organization} ist beendet"),
                format!(
                    "Ihr Zugang zur Organisation {organization} und zu allem, was zu ihr gehört, wurde deaktiviert.\
                     \n\n{come_back}"
                ),
            )
        }
        (MailKind::Reactivated, Some(workspace)) => {
            let organization = organization?;
            (
                format!("Sie haben wieder Zugang zu {workspace}"),
                format!(
                    "Sie haben wieder Zugang zum Arbeitsbereich {workspace} der Organisation {organization}."
                ),
            )
        }
        (MailKind::Reactivated, None) => {
            let organization = organization?;
            (
                format!("Sie haben wieder Zugang zu {organization}"),
                format!("Sie haben wieder Zugang zur Organisation {organization}."),
            )
        }
        (MailKind::Removed, Some(workspace)) => {
            let organization = organization?;
            (
                format!("Sie gehören nicht mehr zu {workspace}"),
                format!(
                    "Sie sind nicht mehr Mitglied des Arbeitsbereichs {workspace} der Organisation {organization}."
                ),
            )
        }
        (MailKind::Removed, None) => {
            let organization = organization?;
            (
                format!("Sie gehören nicht mehr zu {organization}"),
                format!(
                    "Sie wurden aus der Organisation {organization} und aus allem, was zu ihr gehört, entfernt. Ihr \
                     Konto bleibt bestehen."
                ),
            )
        }
        (MailKind::Erased, _) => {
            let organization = organization?;
            (
                format!("Ihre persönlichen Daten in {organization} wurden gelöscht"),
                format!(
                    "Ihre persönlichen Daten in der Organisation {organization} wurden gelöscht. Was Sie dort \
                     geschrieben haben, bleibt ohne Ihren Namen erhalten. Das kann nicht rückgängig gemacht werden."
                ),
            )
        }
        (MailKind::AccountDeleted, _) => (
            "Ihr Konto wurde gelöscht".to_owned(),
            "Ihr Konto wurde gelöscht, und mit ihm Ihre persönlichen Daten. Was Sie geschrieben haben, bleibt ohne \
             Ihren Namen erhalten. Das kann nicht rückgängig gemacht werden."
                .to_owned(),
        ),
        (MailKind::ReturnDue, _) => {
            let (organization, on) = (organization?, day(facts.return_time?));
            let member = named(facts, Language::De).unwrap_or_else(|| "Ein Mitglied".to_owned());
            (
                format!("Eine geplante Rückkehr zu {organization}"),
                format!(
                    "{member} sollte am {on} in die Organisation {organization} zurückkehren und ist noch \
                     deaktiviert. Von selbst geschieht nichts: Inhaber und Administratoren können das Mitglied \
                     reaktivieren."
                ),
            )
        }
        (MailKind::OrganizationDeleted, _) => {
            let organization = organization?;
            (
                format!("{organization} wurde gelöscht"),
                format!(
                    "Die Organisation {organization} wurde gelöscht, und mit ihr alle ihre Arbeitsbereiche. Ihr Konto \
                     bleibt bestehen."
                ),
            )
        }
    })
}

fn named(facts: &Facts<'_>, language: Language) -> Option<String> {
    facts.member.filter(|name| !name.is_empty()).map(|name| quoted(name, language))
}

/// A name in quotation marks, as one line that ends where it seems to end: people choose names.
fn quoted(name: &str, language: Language) -> String {
    let shown: String = name.chars().filter(|character| !turns_text(*character)).map(on_the_line).collect();
    let mut cut: String = shown.chars().take(NAME).collect();
    if cut.len() < shown.len() {
        cut.push('…');
    }
    match language {
        Language::En => format!("\"{cut}\""),
        Language::De => format!("„{cut}“"),
    }
}

/// Whether a character changes the direction of what follows it, which would show the sentence around it mangled.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn on_the_line(character: char) -> char {
    if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') { ' ' } else { character }
}

fn day(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d").to_string()
}

fn minute(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://example.com/join?secret=SECRET";

    fn facts() -> Facts<'static> {
        let time = DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
        Facts {
            organization: Some("Engines"),
            workspace: Some("general"),
            member: Some("Ada"),
            return_time: Some(time),
            invitation: Some(Invitation { link: Some(LINK), secret: "SECRET", expire_time: time }),
        }
    }

    /// What each kind names, where all is known.
    fn names(kind: MailKind) -> &'static [&'static str] {
        match kind {
            MailKind::Invitation => &["Engines", LINK, "2026-01-01 00:00 UTC"],
            MailKind::DeactivatedInWorkspace => &["general"],
            MailKind::DeactivatedInWorkspaceAndOrganization | MailKind::Reactivated | MailKind::Removed => {
                &["Engines", "general"]
            }
            MailKind::DeactivatedInOrganization | MailKind::Erased | MailKind::OrganizationDeleted => {
                &["Engines"]
            }
            MailKind::AccountDeleted => &[],
            MailKind::ReturnDue => &["Engines", "Ada", "2026-01-01"],
        }
    }

    #[test]
    fn every_kind_has_a_text_in_every_language() {
        for language in Language::ALL {
            for kind in MailKind::ALL {
                let Text { subject, body } = text(*kind, *language, &facts()).expect("all is known");
                for name in ["Engines", "general", "Ada", "2026-01-01", LINK] {
                    let expected = names(*kind).iter().any(|named| named.contains(name));
                    assert_eq!(body.contains(name), expected, "{kind:?} {language:?} {name}: {body}");
                }
                assert!(!subject.contains('\n') && !subject.is_empty(), "{subject}");
                assert!(
                    !format!("{subject}{body}").contains(['{', '}']),
                    "an unfilled place: {subject} {body}"
                );
                assert!(!body.contains("  "), "{body}");
            }
        }
    }

    #[test]
    fn the_languages_differ() {
        for kind in MailKind::ALL {
            let [english, german] =
                [Language::En, Language::De].map(|language| text(*kind, language, &facts()));
            assert_ne!(english.expect("a text").subject, german.expect("a text").subject);
        }
    }

    #[test]
    fn r17_the_organization_is_named_only_where_the_access_to_it_ended() {
        for language in Language::ALL {
            let of = |kind| text(kind, *language, &facts()).expect("a text").body;
            assert!(!of(MailKind::DeactivatedInWorkspace).contains("Engines"));
            let both = of(MailKind::DeactivatedInWorkspaceAndOrganization);
            assert!(both.contains("Engines") && both.contains("general"));
        }
    }

    #[test]
    fn what_has_passed_has_no_text() {
        let passed = Facts { return_time: None, invitation: None, ..facts() };
        for kind in [MailKind::Invitation, MailKind::ReturnDue] {
            assert_eq!(text(kind, Language::En, &passed), None);
        }
    }

    #[test]
    fn without_an_address_to_open_the_secret_is_shown() {
        let mut facts = facts();
        facts.invitation = facts.invitation.map(|invitation| Invitation { link: None, ..invitation });
        for language in Language::ALL {
            let body = text(MailKind::Invitation, *language, &facts).expect("a text").body;
            assert!(body.contains("\n\nSECRET\n\n"), "{body}");
        }
    }

    #[test]
    fn a_name_stays_a_name() {
        let long = "x".repeat(NAME + 50);
        assert_eq!(quoted(&long, Language::En), format!("\"{}…\"", "x".repeat(NAME)));
        assert_eq!(quoted("a\r\nBcc: b\u{202e}c\u{2028}d", Language::De), "„a  Bcc: bc d“");
    }
}
