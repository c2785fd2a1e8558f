//! Erasures: receipts, and the ledger.

use tonic::Status;
use uuid::Uuid;

use super::{Services, parse, status};
use crate::{
    engine::{Done, Ledger, LedgerSubject},
    proto::{self, ErasedBy as ErasedByWord},
    rules::{ids::ErasureId, roles::ErasedBy},
    seal::Purpose,
};

/// Parses an entry of the ledger: of a member, or of an account.
pub(super) fn ledger(entry: Option<&proto::Erasure>) -> Result<Ledger, Status> {
    let entry = parse::present("erasure", entry)?;
    let erased_by = match ErasedByWord::try_from(entry.erased_by) {
        Ok(ErasedByWord::Owner) => ErasedBy::Owner,
        Ok(ErasedByWord::Account) => ErasedBy::Account,
        _ => return Err(status::invalid_field("erasure.erased_by", "must be a known value")),
    };
    let what = match parse::optional("erasure.account_id", &entry.account_id)? {
        Some(account) => LedgerSubject::Account(account),
        None => LedgerSubject::Member(
            parse::required("erasure.organization_id", &entry.organization_id)?,
            parse::required("erasure.member_id", &entry.member_id)?,
            parse::required::<ErasureId>("erasure.tombstone_id", &entry.tombstone_id)?.0,
        ),
    };
    Ok(Ledger { what, erased_by })
}

impl Services {
    /// The receipt of what a write erased, and whether the account went with it. Empty: nothing was erased.
    pub(super) async fn receipt_of(&self, done: &Done) -> Result<(String, bool), Status> {
        let Some(id) = done.subject.erasure_id else { return Ok((String::new(), false)) };
        let found = self.engine.database().erasure(id).await.map_err(status::storage)?;
        let entry = found.ok_or_else(status::unrecorded)?;
        Ok((self.seal.seal(Purpose::Receipt, id.0.as_bytes()), entry.addresses > 0))
    }

    /// The entry that a receipt is of.
    pub(super) fn open_receipt(&self, receipt: &str) -> Result<ErasureId, Status> {
        let opened = self.seal.open(Purpose::Receipt, receipt).map_err(|_| status::receipt_invalid())?;
        Uuid::from_slice(&opened).map(ErasureId).map_err(|_| status::receipt_invalid())
    }
}
