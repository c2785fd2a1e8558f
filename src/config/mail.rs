//! Settings of mail.

use super::{MailArgs, MailConfig};

/// The settings over those of a file. An empty text is none: so a variable can take back what the file says.
pub(super) fn resolve(
    args: MailArgs,
    smtp_url: Option<String>,
    smtp_from: Option<String>,
    invitation_url: Option<String>,
) -> MailConfig {
    let over = |given: Option<String>, file: Option<String>| given.or(file).filter(|text| !text.is_empty());
    MailConfig {
        smtp_url: over(args.smtp_url, smtp_url),
        smtp_from: over(args.smtp_from, smtp_from),
        invitation_url: over(args.invitation_url, invitation_url),
    }
}
