//! What people registered, closed so that only agents of the domain open it (A6): a block that the store keeps.
//!
//! HPKE in its mode Auth, from the agents' own key to itself: whoever lacks the private key can neither open a block nor
//! make one. A server that was taken over cannot give somebody a method. The key is none of those that rotate with the
//! messages: a sheet of codes lies in a drawer for years. `docs/decisions/0016-methods.md`.

use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, Serializable};
use keyback_core::keys::{Aead, Kdf, Kem};
use keyback_core::methods::{SEALED, SealedBytes};
use keyback_core::{MethodId, ObjectGuid, RecoveryCode, SealedMethod, Timestamp, TotpSeed, Way, ids};
use zeroize::Zeroizing;

const INFO: &[u8] = b"keyback/methods/1";
const ENCAPSULATED: usize = 32;
/// Of the cipher.
const TAG: usize = 16;
/// Bytes inside of a block, all used by a sheet of codes.
const PLAIN: usize = SEALED - ENCAPSULATED - TAG;
const VERSION: u8 = 1;
const SALT: usize = 16;
const HASH: usize = 32;
const TOTP: u8 = 1;
const SHEET: u8 = 2;
const PASS: u8 = 3;

type PrivateKey = <Kem as hpke::Kem>::PrivateKey;
type PublicKey = <Kem as hpke::Kem>::PublicKey;

/// The agents' keys for methods, the newest first: new blocks are closed with that one, older ones only open.
pub struct Vault(Vec<(PrivateKey, PublicKey)>);

/// What a method consists of.
pub(crate) enum Secret {
    /// An app.
    Totp {
        seed: TotpSeed,
        /// The step of the last code that was used.
        last_step: i64,
    },
    /// A sheet of codes.
    Recovery {
        salt: [u8; SALT],
        /// A bit for each code that was used.
        used: u16,
        hashes: Vec<[u8; HASH]>,
    },
    /// A pass of the help desk's.
    Pass { salt: [u8; SALT], hash: [u8; HASH], expires_at: Timestamp },
}

impl Secret {
    pub(crate) const fn way(&self) -> Way {
        match self {
            Self::Totp { .. } => Way::Totp,
            Self::Recovery { .. } => Way::Recovery,
            Self::Pass { .. } => Way::Pass,
        }
    }
}

/// A method, open.
pub(crate) struct Method {
    pub(crate) id: MethodId,
    /// Whose.
    pub(crate) object_guid: ObjectGuid,
    /// Worth nothing before.
    pub(crate) usable_at: Timestamp,
    pub(crate) secret: Secret,
}

impl Method {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(PLAIN));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id.to_bytes());
        bytes.extend_from_slice(&self.object_guid.to_wire());
        bytes.extend_from_slice(&self.usable_at.as_micros().to_le_bytes());
        match &self.secret {
            Secret::Totp { seed, last_step } => {
                bytes.push(TOTP);
                bytes.extend_from_slice(seed.expose());
                bytes.extend_from_slice(&last_step.to_le_bytes());
            }
            Secret::Recovery { salt, used, hashes } => {
                bytes.push(SHEET);
                bytes.extend_from_slice(salt);
                bytes.extend_from_slice(&used.to_le_bytes());
                hashes.iter().for_each(|hash| bytes.extend_from_slice(hash));
            }
            Secret::Pass { salt, hash, expires_at } => {
                bytes.push(PASS);
                bytes.extend_from_slice(salt);
                bytes.extend_from_slice(hash);
                bytes.extend_from_slice(&expires_at.as_micros().to_le_bytes());
            }
        }
        bytes.resize(PLAIN, 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk::<1>()?;
        let (&id, rest) = rest.split_first_chunk::<16>()?;
        let (&guid, rest) = rest.split_first_chunk::<16>()?;
        let (&usable_at, rest) = rest.split_first_chunk::<8>()?;
        let (&[kind], rest) = rest.split_first_chunk::<1>()?;
        let secret = match (version, kind) {
            (VERSION, TOTP) => {
                let (seed, rest) = rest.split_at_checked(TotpSeed::BYTES)?;
                let seed = TotpSeed::from_bytes(seed)?;
                Secret::Totp { seed, last_step: i64::from_le_bytes(*rest.first_chunk()?) }
            }
            (VERSION, SHEET) => {
                let (&salt, rest) = rest.split_first_chunk::<SALT>()?;
                let (&used, rest) = rest.split_first_chunk::<2>()?;
                let hashes: Vec<[u8; HASH]> =
                    rest.as_chunks::<HASH>().0.iter().take(RecoveryCode::SHEET).copied().collect();
                Secret::Recovery { salt, used: u16::from_le_bytes(used), hashes }
            }
            (VERSION, PASS) => {
                let (&salt, rest) = rest.split_first_chunk::<SALT>()?;
                let (&hash, rest) = rest.split_first_chunk::<HASH>()?;
                let expires_at = Timestamp::from_micros(i64::from_le_bytes(*rest.first_chunk()?));
                Secret::Pass { salt, hash, expires_at }
            }
            _ => return None,
        };
        Some(Self {
            id: MethodId::from_bytes(id),
            object_guid: ObjectGuid::from_wire(guid),
            usable_at: Timestamp::from_micros(i64::from_le_bytes(usable_at)),
            secret,
        })
    }
}

impl Vault {
    /// From the 32 bytes of each key, the newest first.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        Self(keys.into_iter().map(|key| Kem::derive_keypair(key)).collect())
    }

    /// An app that an administrator brings, for this person. `None` without a key.
    pub fn bring(
        &self,
        id: MethodId,
        object_guid: ObjectGuid,
        seed: TotpSeed,
        usable_at: Timestamp,
    ) -> Option<SealedMethod> {
        self.close(&Method { id, object_guid, usable_at, secret: Secret::Totp { seed, last_step: 0 } })
    }

    /// A pass for this person, which counts at once and until then. `None` without a key.
    pub fn pass(
        &self,
        id: MethodId,
        object_guid: ObjectGuid,
        code: &RecoveryCode,
        (now, expires_at): (Timestamp, Timestamp),
    ) -> Option<SealedMethod> {
        let salt = ids::random();
        let secret = Secret::Pass { salt, hash: code.hash(&salt), expires_at };
        self.close(&Method { id, object_guid, usable_at: now, secret })
    }

    /// The block for the store. `None` without a key.
    pub(crate) fn close(&self, method: &Method) -> Option<SealedMethod> {
        let (private, public) = self.0.first()?;
        let by = OpModeS::Auth((private.clone(), public.clone()));
        let (encapsulated, sealed) =
            hpke::single_shot_seal::<Aead, Kdf, Kem>(&by, public, INFO, &method.encode(), b"").ok()?;
        let mut bytes = encapsulated.to_bytes().to_vec();
        bytes.extend_from_slice(&sealed);
        Some(SealedMethod { id: method.id, way: method.secret.way(), sealed: SealedBytes::new(bytes)? })
    }

    /// What is in a block, if an agent of this domain made it.
    pub(crate) fn open(&self, block: &[u8]) -> Option<Method> {
        let (encapsulated, sealed) = block.split_at_checked(ENCAPSULATED)?;
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
        self.0.iter().find_map(|(private, public)| {
            let by = OpModeR::Auth(public.clone());
            let plain =
                hpke::single_shot_open::<Aead, Kdf, Kem>(&by, private, &encapsulated, INFO, sealed, b"");
            Method::decode(&Zeroizing::new(plain.ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(secret: Secret) -> Method {
        Method {
            id: MethodId::from_random([1; 16]),
            object_guid: ObjectGuid::from_wire([2; 16]),
            usable_at: Timestamp::from_micros(7),
            secret,
        }
    }

    fn app() -> Method {
        method(Secret::Totp { seed: TotpSeed::from_bytes(&[3; 20]).unwrap(), last_step: 99 })
    }

    #[test]
    fn an_app_and_a_sheet_open_as_they_were_closed_and_have_one_length() {
        let vault = Vault::new([&[1; 32]]);
        let hashes = (0..10).map(|seed| [seed; 32]).collect();
        let sheet = vault.close(&method(Secret::Recovery { salt: [4; 16], used: 5, hashes })).unwrap();
        let app = vault.close(&app()).unwrap();
        assert_eq!((app.way, sheet.way), (Way::Totp, Way::Recovery));
        assert_eq!(app.sealed.as_bytes().len(), sheet.sealed.as_bytes().len());
        let open = vault.open(app.sealed.as_bytes()).unwrap();
        assert_eq!(
            (open.id, open.object_guid, open.usable_at),
            (app.id, ObjectGuid::from_wire([2; 16]), Timestamp::from_micros(7))
        );
        assert!(matches!(open.secret, Secret::Totp { seed, last_step: 99 } if *seed.expose() == [3; 20]));
        let Some(Secret::Recovery { salt, used, hashes }) =
            vault.open(sheet.sealed.as_bytes()).map(|open| open.secret)
        else {
            panic!("a sheet")
        };
        assert_eq!((salt, used, hashes.len(), hashes[9]), ([4; 16], 5, 10, [9; 32]));
    }

    /// Fault: the server makes a method for somebody, or alters one => no agent takes it for a method
    #[test]
    fn nobody_without_the_key_makes_or_opens_a_block() {
        let (vault, other) = (Vault::new([&[1; 32]]), Vault::new([&[2; 32]]));
        let block = vault.close(&app()).unwrap().sealed;
        assert!(other.open(block.as_bytes()).is_none());
        // The public key alone is enough to seal to, in the mode that messages use.
        let (_, public) = Kem::derive_keypair(&[1; 32]);
        let (encapsulated, sealed) =
            hpke::single_shot_seal::<Aead, Kdf, Kem>(&OpModeS::Base, &public, INFO, &app().encode(), b"")
                .unwrap();
        assert!(vault.open(&[&encapsulated.to_bytes()[..], &sealed].concat()).is_none());
        for at in (0..SEALED).step_by(7) {
            let mut altered = block.as_bytes().to_vec();
            altered[at] ^= 1;
            assert!(vault.open(&altered).is_none(), "byte {at}");
        }
        assert!(vault.open(&[0; SEALED]).is_none() && vault.open(b"").is_none());
    }

    #[test]
    fn an_older_key_opens_and_only_the_newest_closes() {
        let old = Vault::new([&[1; 32]]).close(&app()).unwrap();
        let rotated = Vault::new([&[2; 32], &[1; 32]]);
        let again = rotated.close(&rotated.open(old.sealed.as_bytes()).unwrap()).unwrap();
        assert!(Vault::new([&[2; 32]]).open(again.sealed.as_bytes()).is_some());
        assert!(Vault::new([&[1; 32]]).open(again.sealed.as_bytes()).is_none());
    }
}
