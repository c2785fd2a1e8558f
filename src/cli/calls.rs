//! What a trace and a roster need alike when they are applied: apps, accounts, and request ids made of the file.

use rollcall_client::{Client, RetryPolicy, describe, reason, retry, v1};
use sha2::{Digest as _, Sha256};
use tonic::Status;
use uuid::Uuid;

use super::{lists::patience, names::email_of};

/// The workspace that an imported organization begins with where its file names none (R01). Nobody is in it, so it appears
/// in no roster; a trace cannot use its name, which is taken from the first row on.
pub(crate) const FIRST_WORKSPACE: &str = "rollcall-replay";
/// The app of that workspace.
pub(super) const FIRST_APP: &str = "chat";

/// Why something could not be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("{}", describe(.0))]
    Refused(Box<Status>),
    #[error("the service answered without the {0} that it promises")]
    Incomplete(&'static str),
    #[error("{0:?} is not known; this is a defect")]
    Unknown(Box<dyn std::fmt::Debug + Send + Sync>),
}

impl From<Status> for ApplyError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// Makes calls for one file.
pub(super) struct Calls {
    pub(super) client: Client,
    pub(super) policy: RetryPolicy,
    digest: [u8; 32],
}

impl Calls {
    /// `digest` is that of the file: what makes the request ids its own.
    pub(super) fn new(client: Client, digest: [u8; 32]) -> Self {
        Self { client, policy: RetryPolicy::default(), digest }
    }

    /// Registers an app unless it is.
    pub(super) async fn ensure_app(&self, app: &str) -> Result<(), ApplyError> {
        let get = v1::GetAppRequest { app: app.to_owned(), ..Default::default() };
        // The first call of all: whoever named a wrong endpoint should not have to wait long to hear so.
        let known = retry(&patience(), async || self.client.apps().get_app(get.clone()).await).await;
        match known {
            Ok(_) => return Ok(()),
            Err(status) if reason(&status) == Some(v1::ErrorReason::AppNotFound) => {}
            Err(status) => return Err(status.into()),
        }
        let register = v1::RegisterAppRequest {
            app: app.to_owned(),
            request_id: self.request_id(0, &format!("app {app}"), &[]),
            ..Default::default()
        };
        let registered =
            retry(&self.policy, async || self.client.apps().register_app(register.clone()).await).await;
        match registered {
            Ok(_) => Ok(()),
            // Someone else was quicker.
            Err(status) if reason(&status) == Some(v1::ErrorReason::AppExists) => Ok(()),
            Err(status) => Err(status.into()),
        }
    }

    /// The account of a person: a new one, or the one that has the address.
    pub(super) async fn create_account(
        &self,
        person: &str,
        request_id: String,
    ) -> Result<v1::Account, ApplyError> {
        let email = email_of(person);
        let request = v1::CreateAccountRequest { email: email.clone(), request_id, ..Default::default() };
        let created =
            retry(&self.policy, async || self.client.accounts().create_account(request.clone()).await).await;
        let account = match created {
            Ok(response) => response.account,
            Err(status) if reason(&status) == Some(v1::ErrorReason::AccountEmailTaken) => {
                let request = v1::LookupAccountRequest {
                    key: Some(v1::lookup_account_request::Key::Email(email)),
                    ..Default::default()
                };
                retry(&self.policy, async || self.client.accounts().lookup_account(request.clone()).await)
                    .await?
                    .account
            }
            Err(status) => return Err(status.into()),
        };
        account.ok_or(ApplyError::Incomplete("account"))
    }

    /// The same for the same content of the same step of the same line of the same file, in every attempt and every run.
    pub(super) fn request_id(&self, line: usize, step: &str, content: &[u8]) -> String {
        let hash = Sha256::new()
            .chain_update(self.digest)
            .chain_update(line.to_be_bytes())
            .chain_update(step)
            .chain_update(content);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Uuid::new_v8(bytes).to_string()
    }
}
