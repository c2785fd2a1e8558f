//! Erasures: receipts, and the ledger.

use tonic::{Request, Status};
use uuid::Uuid;

use super::{Services, convert, parse, status};
use crate::{
    engine::{Done, Ledger, LedgerSubject},
    identity::{Caller, Kind},
    proto::{self, ErasedBy as ErasedByWord},
    rules::{
        ids::{AppName, ErasureId},
        roles::ErasedBy,
    },
    seal::Purpose,
    storage::ErasureRow,
};

/// What of an entry is sealed: all that it says.
fn sealed(entry: &proto::Erasure) -> Vec<u8> {
    let proto::Erasure {
        erasure_id,
        organization_id,
        member_id,
        tombstone_id,
        account_id,
        erased_by,
        erase_time,
        seal: _,
    } = entry;
    let day = erase_time.as_ref().map(|time| (time.seconds, time.nanos));
    // None of the texts that were sealed has a line break, so no two entries come out alike.
    format!(
        "{erasure_id}\n{organization_id}\n{member_id}\n{tombstone_id}\n{account_id}\n{erased_by}\n{day:?}"
    )
    .into_bytes()
}

impl Services {
    /// An entry of the ledger, as it is listed.
    pub(super) fn ledger_entry(&self, row: ErasureRow) -> proto::Erasure {
        let entry = convert::erasure(row);
        proto::Erasure { seal: self.seal.seal_for_restore(Purpose::Erasure, &sealed(&entry)), ..entry }
    }

    /// Parses an entry of the ledger that this store listed: of a member, of an organization, or of an account.
    pub(super) fn ledger(&self, entry: Option<&proto::Erasure>) -> Result<Ledger, Status> {
        let entry = parse::present("erasure", entry)?;
        if self.seal.open(Purpose::Erasure, &entry.seal).ok() != Some(sealed(entry)) {
            return Err(status::erasure_invalid());
        }
        let erased_by = match ErasedByWord::try_from(entry.erased_by) {
            Ok(ErasedByWord::Owner) => ErasedBy::Owner,
            Ok(ErasedByWord::Account) => ErasedBy::Account,
            _ => return Err(status::invalid_field("erasure.erased_by", "must be a known value")),
        };
        let account = parse::optional("erasure.account_id", &entry.account_id)?;
        let member = parse::optional("erasure.member_id", &entry.member_id)?;
        let organization = || parse::required("erasure.organization_id", &entry.organization_id);
        let what = match (account, member) {
            (Some(account), _) => LedgerSubject::Account(account),
            (None, None) => LedgerSubject::Organization(organization()?),
            (None, Some(member)) => {
                let tombstone: ErasureId = parse::required("erasure.tombstone_id", &entry.tombstone_id)?;
                LedgerSubject::Member(organization()?, member, tombstone.0)
            }
        };
        Ok(Ledger { what, erased_by })
    }

    /// Refuses a caller that is named like a registered app, where callers are not told apart: the ledger names what is in no
    /// app's scope (R15).
    pub(super) async fn not_for_apps<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let caller = parse::who(request)?;
        let named = (caller.kind == Kind::Anyone).then(|| caller.name.as_str().parse::<AppName>());
        let Some(Ok(app)) = named else { return Ok(()) };
        let found = self.engine.database().app(&app).await.map_err(status::storage)?;
        found.map_or(Ok(()), |_| Err(status::caller_is_app(&app)))
    }

    /// The receipt of what a write erased, and whether the account went with it. Empty: nothing was erased.
    pub(super) async fn receipt_of<T>(
        &self,
        request: &Request<T>,
        done: &Done,
    ) -> Result<(String, bool), Status> {
        let Some(id) = done.subject.erasure_id else { return Ok((String::new(), false)) };
        let found = self.engine.database().erasure(id).await.map_err(status::storage)?;
        let entry = found.ok_or_else(status::unrecorded)?;
        let mut payload = id.0.as_bytes().to_vec();
        payload.extend(self.holder(parse::who(request)?));
        Ok((self.seal.seal(Purpose::Receipt, &payload), entry.addresses > 0))
    }

    /// By what a receipt knows whose it is.
    fn holder(&self, caller: &Caller) -> Vec<u8> {
        self.seal.fingerprint("receipt", caller.name.as_str().as_bytes())
    }

    /// The entry that a receipt is of. It is good for who got it, where callers are told apart, and for who may read all.
    pub(super) fn open_receipt<T>(&self, request: &Request<T>, receipt: &str) -> Result<ErasureId, Status> {
        let opened = self.seal.open(Purpose::Receipt, receipt).map_err(|_| status::receipt_invalid())?;
        let caller = parse::who(request)?;
        let (id, holder) = opened.split_at_checked(16).ok_or_else(status::receipt_invalid)?;
        let reads_all = matches!(caller.kind, Kind::Anyone | Kind::Operator);
        if !reads_all && holder != self.holder(caller) {
            return Err(status::receipt_invalid());
        }
        Uuid::from_slice(id).map(ErasureId).map_err(|_| status::receipt_invalid())
    }
}
