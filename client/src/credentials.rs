//! What every call carries to say who calls.

use std::{fmt, sync::Arc};

use tonic::{Request, Status, metadata::AsciiMetadataValue, service::Interceptor};

/// The metadata key by which a caller names itself where no credential does.
const CALLER: &str = "rollcall-caller";
const AUTHORIZATION: &str = "authorization";

type Token = Arc<dyn Fn() -> String + Send + Sync>;

/// Who calls: added to each call of a [`crate::Client`]. The default adds nothing.
#[derive(Clone, Default)]
pub struct Credentials {
    caller: Option<AsciiMetadataValue>,
    bearer: Option<Token>,
}

impl Credentials {
    /// Names the calling workload, for a service that takes callers at their word.
    ///
    /// # Panics
    ///
    /// When the name is not printable ASCII.
    #[must_use]
    pub fn caller(mut self, name: &str) -> Self {
        self.caller = Some(name.parse().expect("the name of a workload is printable ASCII"));
        self
    }

    /// Asks for a token before each call and sends it as `authorization: Bearer ...`. The call must be quick: keep the
    /// token in memory and renew it elsewhere.
    #[must_use]
    pub fn bearer(mut self, token: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.bearer = Some(Arc::new(token));
        self
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(caller) = &self.caller {
            metadata.insert(CALLER, caller.clone());
        }
        if let Some(token) = &self.bearer {
            let mut value: AsciiMetadataValue = format!("Bearer {}", token()).parse().map_err(|_| {
                Status::unauthenticated("the bearer token has characters that cannot be sent")
            })?;
            value.set_sensitive(true);
            metadata.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("caller", &self.caller)
            .field("bearer", &self.bearer.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_carry_name_and_token() {
        let mut credentials = Credentials::default().caller("chat").bearer(|| "secret".into());
        let request = credentials.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("rollcall-caller").unwrap(), "chat");
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer secret");
        assert!(!format!("{credentials:?}").contains("secret"));
        let mut broken = Credentials::default().bearer(|| "line\nbreak".into());
        assert!(broken.call(Request::new(())).is_err());
    }
}
