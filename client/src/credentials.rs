//! What every call carries to say who calls.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use tonic::{Request, Status, metadata::AsciiMetadataValue, service::Interceptor};

/// The metadata key by which a caller names itself where no credential does.
const CALLER: &str = "rollcall-caller";
const AUTHORIZATION: &str = "authorization";

/// For how long a token that was read from a file is used without looking again: reading it costs less than sending it.
const LOOK: Duration = Duration::from_secs(1);

type Token = Arc<dyn Fn() -> io::Result<String> + Send + Sync>;

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
        self.bearer = Some(Arc::new(move || Ok(token())));
        self
    }

    /// Sends the token that is in a file, which is replaced while the app runs, as Kubernetes does with those that it projects
    /// into a pod. A call fails with UNAVAILABLE while there is none.
    #[must_use]
    pub fn bearer_file(mut self, path: impl Into<PathBuf>) -> Self {
        let (path, read) = (path.into(), Mutex::new(None));
        self.bearer = Some(Arc::new(move || token(&path, &read)));
        self
    }
}

/// The token in the file, read again now and then.
fn token(path: &Path, read: &Mutex<Option<(Instant, String)>>) -> io::Result<String> {
    let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, token)) = read.as_ref().filter(|(at, _)| at.elapsed() < LOOK) {
        return Ok(token.clone());
    }
    let token = fs::read_to_string(path)?.trim().to_owned();
    *read = Some((Instant::now(), token.clone()));
    Ok(token)
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(caller) = &self.caller {
            metadata.insert(CALLER, caller.clone());
        }
        if let Some(token) = &self.bearer {
            let token = token().map_err(|error| {
                // It may be there the next time.
                Status::unavailable(format!("the file of the bearer token cannot be read: {error}"))
            })?;
            let mut value: AsciiMetadataValue = format!("Bearer {token}").parse().map_err(|_| {
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

    #[tokio::test(start_paused = true)]
    async fn a_token_in_a_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let mut credentials = Credentials::default().bearer_file(&path);
        assert_eq!(credentials.call(Request::new(())).unwrap_err().code(), tonic::Code::Unavailable);
        let mut sent = || {
            let request = credentials.call(Request::new(())).unwrap();
            request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned()
        };
        fs::write(&path, "first\n").unwrap();
        assert_eq!(sent(), "Bearer first");
        fs::write(&path, "second\n").unwrap();
        tokio::time::advance(LOOK - Duration::from_millis(1)).await;
        assert_eq!(sent(), "Bearer first");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(sent(), "Bearer second");
    }
}
