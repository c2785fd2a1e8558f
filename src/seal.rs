//! Opaque texts that clients keep and give back: sealed with a key of the store, so that what comes back is what was
//! sent, by this store, for this purpose.
//!
//! Layout, in URL-safe base64 without padding: format (1 byte), purpose (1), store id (16), key id (4, big endian),
//! payload, checksum (4: the beginning of a SHA-256), MAC (16: the beginning of an HMAC-SHA-256). The checksum needs no
//! key: it tells a damaged text from an intact one of another store.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::rules::ids::{AccountId, StoreId};

const FORMAT: u8 = 1;
const HEAD: usize = 1 + 1 + 16 + 4;
const CHECKSUM: usize = 4;
const MAC: usize = 16;
/// No text of ours is longer, but tokens; anything longer is refused before it is decoded.
const MAX_TEXT: usize = 1_024;
/// No token is longer: it names the commands of a batch, 500 at most.
const MAX_TOKEN: usize = 11_000;
/// What a pad of hidden bytes begins with.
const PAD: usize = 16;

/// What a sealed text is for. One that was sealed for one purpose does not open for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Where to resume a stream.
    Cursor = 1,
    /// What a write answered.
    Token = 2,
    /// Where the next page of a list begins.
    Page = 3,
    /// What accepts an invitation.
    Invitation = 4,
    /// Proof of an erasure.
    Receipt = 5,
    /// An entry of the ledger of erasures.
    Erasure = 6,
}

/// Why a text does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// Damaged, made up, or sealed for another purpose.
    Invalid,
    /// Intact, and of another store.
    WrongStore,
}

/// The keys of a store.
pub struct Seal {
    store_id: StoreId,
    keys: Vec<(u32, Vec<u8>)>,
}

impl Seal {
    /// Takes the keys of a store, the newest last; it seals, all of them open.
    pub fn new(store_id: StoreId, keys: Vec<(i32, Vec<u8>)>) -> Option<Self> {
        let keys: Vec<(u32, Vec<u8>)> =
            keys.into_iter().filter_map(|(id, secret)| Some((u32::try_from(id).ok()?, secret))).collect();
        (!keys.is_empty()).then_some(Self { store_id, keys })
    }

    /// The store that the keys belong to.
    pub fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// Seals a payload. The same payload gives the same text as long as the key is the newest.
    pub fn seal(&self, purpose: Purpose, payload: &[u8]) -> String {
        self.seal_with(&self.keys[self.keys.len() - 1], purpose, payload)
    }

    /// Seals a payload with the oldest key, which every backup of the store has: for what is applied to a restored one.
    pub fn seal_for_restore(&self, purpose: Purpose, payload: &[u8]) -> String {
        self.seal_with(&self.keys[0], purpose, payload)
    }

    fn seal_with(&self, (key_id, secret): &(u32, Vec<u8>), purpose: Purpose, payload: &[u8]) -> String {
        let mut text = Vec::with_capacity(HEAD + payload.len() + CHECKSUM + MAC);
        text.extend([FORMAT, purpose as u8]);
        text.extend(self.store_id.0.as_bytes());
        text.extend(key_id.to_be_bytes());
        text.extend(payload);
        let checksum = Sha256::digest(&text);
        text.extend(&checksum[..CHECKSUM]);
        let mac = keyed(secret).chain_update(&text).finalize().into_bytes();
        text.extend(&mac[..MAC]);
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }

    /// Opens a sealed text.
    pub fn open(&self, purpose: Purpose, text: &str) -> Result<Vec<u8>, SealError> {
        if text.len() > if purpose == Purpose::Token { MAX_TOKEN } else { MAX_TEXT } {
            return Err(SealError::Invalid);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::Invalid)?;
        if bytes.len() < HEAD + CHECKSUM + MAC || bytes[0] != FORMAT {
            return Err(SealError::Invalid);
        }
        let (sealed, mac) = bytes.split_at(bytes.len() - MAC);
        let (body, checksum) = sealed.split_at(sealed.len() - CHECKSUM);
        if Sha256::digest(body)[..CHECKSUM] != *checksum {
            return Err(SealError::Invalid);
        }
        if bytes[2..18] != *self.store_id.0.as_bytes() {
            return Err(SealError::WrongStore);
        }
        let key_id = u32::from_be_bytes([bytes[18], bytes[19], bytes[20], bytes[21]]);
        let (_, secret) = self.keys.iter().find(|(id, _)| *id == key_id).ok_or(SealError::Invalid)?;
        // Compares in constant time.
        keyed(secret).chain_update(sealed).verify_truncated_left(mac).map_err(|_| SealError::Invalid)?;
        if bytes[1] != purpose as u8 {
            return Err(SealError::Invalid);
        }
        Ok(body[HEAD..].to_vec())
    }

    /// Hides what a text has from whoever reads it without a key: a pad is laid over it that grows out of a keyed hash of
    /// it, which stands before it. The same bytes give the same; what was hidden proves nothing before it is sealed.
    pub fn hide(&self, plain: &[u8]) -> Vec<u8> {
        let first = keyed(&self.keys[0].1).chain_update("hide").chain_update(plain).finalize().into_bytes();
        let mut hidden = first[..PAD].to_vec();
        hidden.extend(self.padded(&first[..PAD], plain));
        hidden
    }

    /// What was hidden.
    pub fn reveal(&self, hidden: &[u8]) -> Option<Vec<u8>> {
        let (first, padded) = hidden.split_at_checked(PAD)?;
        Some(self.padded(first, padded))
    }

    /// The oldest key, as for fingerprints: nothing says which it was.
    fn padded(&self, first: &[u8], bytes: &[u8]) -> Vec<u8> {
        let blocks = bytes.chunks(32).zip(0_u64..).flat_map(|(block, number)| {
            let pad = keyed(&self.keys[0].1).chain_update("pad").chain_update(first);
            let pad = pad.chain_update(number.to_be_bytes()).finalize().into_bytes();
            block.iter().zip(pad).map(|(byte, pad)| byte ^ pad).collect::<Vec<u8>>()
        });
        blocks.collect()
    }

    /// A keyed hash that tells two payloads apart and nothing of either. The oldest key: it must not change while
    /// repetitions of a request are still recognized.
    pub fn fingerprint(&self, method: &str, payload: &[u8]) -> Vec<u8> {
        let mac = keyed(&self.keys[0].1).chain_update(method).chain_update([0]).chain_update(payload);
        mac.finalize().into_bytes().to_vec()
    }

    /// The same of what was asked for a person whom the payload does not name.
    pub fn fingerprint_of(&self, person: AccountId, method: &str, payload: &[u8]) -> Vec<u8> {
        let mac = keyed(&self.keys[0].1).chain_update(method).chain_update([1]).chain_update(person.0);
        mac.chain_update(payload).finalize().into_bytes().to_vec()
    }
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes keys of any length")
}

/// Reads the fixed-size fields of a payload one after the other.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn i64(&mut self) -> Option<i64> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i64::from_be_bytes(*field))
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*field))
    }

    pub(crate) fn uuid(&mut self) -> Option<Uuid> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(Uuid::from_bytes(*field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(store: u128) -> Seal {
        Seal::new(StoreId(Uuid::from_u128(store)), vec![(1, vec![1; 32]), (2, vec![2; 32])])
            .expect("has keys")
    }

    #[test]
    fn what_was_sealed_opens() {
        let text = seal(1).seal(Purpose::Cursor, b"payload");
        assert_eq!(seal(1).open(Purpose::Cursor, &text), Ok(b"payload".to_vec()));
        assert_eq!(seal(1).open(Purpose::Token, &text), Err(SealError::Invalid));
        assert_eq!(seal(2).open(Purpose::Cursor, &text), Err(SealError::WrongStore));
    }

    #[test]
    fn what_was_hidden_is_seen_with_the_key_alone() {
        let (ours, theirs) =
            (seal(1), Seal::new(StoreId(Uuid::nil()), vec![(1, vec![3; 32])]).expect("a key"));
        for length in [0, 1, 31, 32, 33, 8_000] {
            let plain = vec![7; length];
            let hidden = ours.hide(&plain);
            assert_eq!(hidden, ours.hide(&plain), "the same gives the same");
            assert_eq!(ours.reveal(&hidden), Some(plain.clone()));
            assert!(length < 31 || theirs.reveal(&hidden) != Some(plain));
            assert!(!hidden.windows(8).any(|some| some == [7; 8]), "nothing of it shows");
        }
        assert_ne!(
            ours.hide(&[7; 64])[16..],
            ours.hide(&[8; 64])[16..].iter().map(|byte| byte ^ 15).collect::<Vec<_>>()
        );
        assert_eq!(ours.reveal(&[0; 15]), None);
        // A token may be as long as a batch makes it, and nothing else may.
        let text = ours.seal(Purpose::Token, &[0; 8_041]);
        assert_eq!(ours.open(Purpose::Token, &text).map(|payload| payload.len()), Ok(8_041));
        assert_eq!(ours.open(Purpose::Cursor, &text), Err(SealError::Invalid));
    }

    #[test]
    fn no_flipped_bit_opens() {
        let text = seal(1).seal(Purpose::Cursor, &[7; 56]);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).expect("well-formed");
        for index in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[index / 8] ^= 1 << (index % 8);
            let damaged = BASE64_URL_SAFE_NO_PAD.encode(damaged);
            assert_eq!(seal(1).open(Purpose::Cursor, &damaged), Err(SealError::Invalid), "bit {index}");
        }
        for length in 0..text.len() {
            assert_eq!(
                seal(1).open(Purpose::Cursor, &text[..length]),
                Err(SealError::Invalid),
                "length {length}"
            );
        }
        assert_eq!(seal(1).open(Purpose::Cursor, &"A".repeat(1 << 20)), Err(SealError::Invalid));
    }

    #[test]
    fn an_older_key_opens_and_does_not_seal() {
        let old = Seal::new(StoreId(Uuid::from_u128(1)), vec![(1, vec![1; 32])]).expect("has keys");
        let text = old.seal(Purpose::Cursor, b"payload");
        assert_eq!(seal(1).open(Purpose::Cursor, &text), Ok(b"payload".to_vec()));
        assert_ne!(seal(1).seal(Purpose::Cursor, b"payload"), text);
        assert_eq!(seal(1).fingerprint("m", b"p"), old.fingerprint("m", b"p"));
        // What is sealed for a restore opens there, whatever key came after the backup.
        let text = seal(1).seal_for_restore(Purpose::Erasure, b"payload");
        assert_eq!(old.open(Purpose::Erasure, &text), Ok(b"payload".to_vec()));
    }
}
