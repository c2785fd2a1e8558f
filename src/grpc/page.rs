//! Page tokens: opaque, sealed, good for the list that they were given for and for no other.

use sha2::{Digest as _, Sha256};
use tonic::{Request, Status};

use super::{Services, parse, status};
use crate::{
    seal::{Purpose, Seal},
    storage::Reach,
};

/// A page that was asked for.
pub(super) struct Asked {
    /// Rows on it at most.
    pub(super) rows: usize,
    /// The key after which it begins. None: the first page.
    pub(super) after: Option<String>,
    list: Vec<u8>,
}

impl Services {
    /// Reads what a request says about its page. `list` names the list with all its parents and filters. A token is good for
    /// who got it, as far as that one sees.
    pub(super) fn page<M>(
        &self,
        request: &Request<M>,
        reach: &Reach,
        (page_size, page_token): (i32, &str),
        list: &[&str],
    ) -> Result<Asked, Status> {
        let whose = format!("{} {reach:?}", parse::caller(request)?);
        let list: Vec<&str> = [whose.as_str()].into_iter().chain(list.iter().copied()).collect();
        open(&self.seal, page_size, page_token, &list)
    }

    /// Cuts what was read (one row more than asked, to see whether there is more) and seals where the next page begins.
    pub(super) fn next_page<T>(
        &self,
        asked: &Asked,
        rows: &mut Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> String {
        if rows.len() <= asked.rows {
            return String::new();
        }
        rows.truncate(asked.rows);
        self.page_after(asked, &rows.last().map(key).unwrap_or_default())
    }

    /// Seals that the next page begins after this key.
    pub(super) fn page_after(&self, asked: &Asked, key: &str) -> String {
        let mut payload = asked.list.clone();
        payload.extend(key.as_bytes());
        self.seal.seal(Purpose::Page, &payload)
    }
}

/// Reads a page token; an empty one is that of the first page.
pub(super) fn open(seal: &Seal, page_size: i32, page_token: &str, list: &[&str]) -> Result<Asked, Status> {
    let rows = parse::page_size(page_size)?;
    let list = Sha256::digest(list.join("\0"))[..8].to_vec();
    if page_token.is_empty() {
        return Ok(Asked { rows, after: None, list });
    }
    let payload = seal.open(Purpose::Page, page_token).map_err(|_| Asked::invalid())?;
    let after = payload.strip_prefix(&list[..]).ok_or_else(Asked::invalid)?;
    let after = String::from_utf8(after.to_vec()).map_err(|_| Asked::invalid())?;
    Ok(Asked { rows, after: Some(after), list })
}

impl Asked {
    /// How many rows to read.
    pub(super) fn limit(&self) -> i64 {
        i64::try_from(self.rows + 1).unwrap_or(i64::MAX)
    }

    /// The key, where it is an id.
    pub(super) fn after_id(&self) -> Result<Option<uuid::Uuid>, Status> {
        let parsed = self.after.as_deref().map(uuid::Uuid::parse_str).transpose();
        parsed.map_err(|_| Self::invalid())
    }

    /// What is refused where a key is not what the list's own tokens hold.
    pub(super) fn invalid() -> Status {
        status::invalid_field("page_token", "is damaged, or of another list")
    }
}
