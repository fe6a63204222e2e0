//! What a request asks, sealed: fields of tag, length and bytes.

use super::{MessageError, PADDED_TO};
use crate::ids::{ChallengeId, MethodId, UserName};
use crate::job::Kind;
use crate::methods::Bundle;
use crate::secrets::{CurrentPassword, NewPassword, RecoveryCode, TotpCode, TotpSeed, TypedCode};
use zeroize::Zeroizing;

/// What only the agent may read.
pub enum Body {
    /// Verify: find this user and mail a code to the address of record.
    AskCode {
        /// As typed.
        user: UserName,
        /// Or mail none: the person has an app or a sheet of codes, if there is such a person.
        held: bool,
    },
    /// Verify: is this the code?
    CheckCode {
        /// What it proves.
        challenge: ChallengeId,
        /// As typed.
        code: TypedCode,
        /// The person's methods, where one of them may be what was typed.
        methods: Option<Bundle>,
    },
    /// Verify: is this the password of whoever has proved this challenge?
    CheckPassword {
        /// The proof.
        challenge: ChallengeId,
        /// As typed.
        current: CurrentPassword,
    },
    /// Verify: keep this app for the person, if its code is right.
    AddTotp {
        /// Who signed in.
        challenge: ChallengeId,
        /// What it will be called.
        method: MethodId,
        /// What the app was given.
        seed: TotpSeed,
        /// What the app shows.
        code: TotpCode,
    },
    /// Verify: keep this sheet of codes for the person.
    AddRecovery {
        /// Who signed in.
        challenge: ChallengeId,
        /// What it will be called.
        method: MethodId,
        /// The sheet that it takes the place of.
        replaces: Option<MethodId>,
        /// The codes, [`RecoveryCode::SHEET`] of them.
        codes: Vec<RecoveryCode>,
    },
    /// Verify: does this code belong to one of the person's methods?
    TestMethod {
        /// Who signed in.
        challenge: ChallengeId,
        /// As typed.
        code: TypedCode,
        /// The person's methods.
        methods: Bundle,
    },
    /// Verify: this method counts no more.
    RemoveMethod {
        /// Who signed in.
        challenge: ChallengeId,
        /// Which.
        method: MethodId,
    },
    /// Reset.
    Reset {
        /// The proof.
        challenge: ChallengeId,
        /// What to set.
        new: NewPassword,
    },
    /// Change.
    Change {
        /// The proof.
        challenge: ChallengeId,
        /// What the directory compares.
        current: CurrentPassword,
        /// What to set.
        new: NewPassword,
    },
    /// Unlock.
    Unlock {
        /// The proof.
        challenge: ChallengeId,
    },
}

const USER: u8 = 1;
const CHALLENGE: u8 = 2;
const CODE: u8 = 3;
const NEW: u8 = 4;
const CURRENT: u8 = 5;
const HELD: u8 = 6;
const METHODS: u8 = 7;
const METHOD: u8 = 8;
const SEED: u8 = 9;
const CODES: u8 = 10;
const REPLACES: u8 = 11;
const TAGS: usize = 12;

/// Which fields a body has, as one number.
const fn shape(tags: &[u8]) -> u32 {
    let (mut shape, mut at) = (0, 0);
    while at < tags.len() {
        shape |= 1 << tags[at];
        at += 1;
    }
    shape
}

const ASK: u32 = shape(&[USER]);
const ASK_HELD: u32 = shape(&[USER, HELD]);
const CHECK: u32 = shape(&[CHALLENGE, CODE]);
const CHECK_HELD: u32 = shape(&[CHALLENGE, CODE, METHODS]);
const PASSWORD: u32 = shape(&[CHALLENGE, CURRENT]);
const ADD_TOTP: u32 = shape(&[CHALLENGE, METHOD, SEED, CODE]);
const ADD_SHEET: u32 = shape(&[CHALLENGE, METHOD, CODES]);
const NEXT_SHEET: u32 = shape(&[CHALLENGE, METHOD, CODES, REPLACES]);
const TEST: u32 = shape(&[CHALLENGE, CODE, METHODS, HELD]);
const REMOVE: u32 = shape(&[CHALLENGE, METHOD]);
const RESET: u32 = shape(&[CHALLENGE, NEW]);
const CHANGE: u32 = shape(&[CHALLENGE, NEW, CURRENT]);
const UNLOCK: u32 = shape(&[CHALLENGE]);

impl Body {
    /// The kind that its header must have.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::AskCode { .. }
            | Self::CheckCode { .. }
            | Self::CheckPassword { .. }
            | Self::AddTotp { .. }
            | Self::AddRecovery { .. }
            | Self::TestMethod { .. }
            | Self::RemoveMethod { .. } => Kind::Verify,
            Self::Reset { .. } => Kind::Reset,
            Self::Change { .. } => Kind::Change,
            Self::Unlock { .. } => Kind::Unlock,
        }
    }

    /// Fields of tag, length and bytes, a zero, and zeros up to a multiple of [`PADDED_TO`].
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Room for the longest body, so that growing leaves no copy of a secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(PADDED_TO * 8));
        let mut put = |tag: u8, value: &[u8]| {
            bytes.push(tag);
            bytes.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend_from_slice(value);
        };
        let challenge = |challenge: &ChallengeId| challenge.to_string().into_bytes();
        match self {
            Self::AskCode { user, held } => {
                put(USER, user.as_str().as_bytes());
                if *held {
                    put(HELD, &[]);
                }
            }
            Self::CheckCode { challenge: id, code, methods } => {
                put(CHALLENGE, &challenge(id));
                put(CODE, code.expose().as_bytes());
                if let Some(methods) = methods {
                    put(METHODS, methods.as_bytes());
                }
            }
            Self::CheckPassword { challenge: id, current } => {
                put(CHALLENGE, &challenge(id));
                put(CURRENT, current.expose().as_bytes());
            }
            Self::AddTotp { challenge: id, method, seed, code } => {
                put(CHALLENGE, &challenge(id));
                put(METHOD, &method.to_bytes());
                put(SEED, seed.expose());
                put(CODE, code.expose().as_bytes());
            }
            Self::AddRecovery { challenge: id, method, replaces, codes } => {
                put(CHALLENGE, &challenge(id));
                put(METHOD, &method.to_bytes());
                if let Some(old) = replaces {
                    put(REPLACES, &old.to_bytes());
                }
                let mut all =
                    Zeroizing::new(String::with_capacity(RecoveryCode::LENGTH * RecoveryCode::SHEET));
                codes.iter().for_each(|code| all.push_str(code.expose()));
                put(CODES, all.as_bytes());
            }
            Self::TestMethod { challenge: id, code, methods } => {
                put(CHALLENGE, &challenge(id));
                put(CODE, code.expose().as_bytes());
                put(METHODS, methods.as_bytes());
                put(HELD, &[]);
            }
            Self::RemoveMethod { challenge: id, method } => {
                put(CHALLENGE, &challenge(id));
                put(METHOD, &method.to_bytes());
            }
            Self::Reset { challenge: id, new } => {
                put(CHALLENGE, &challenge(id));
                put(NEW, new.expose().as_bytes());
            }
            Self::Change { challenge: id, current, new } => {
                put(CHALLENGE, &challenge(id));
                put(NEW, new.expose().as_bytes());
                put(CURRENT, current.expose().as_bytes());
            }
            Self::Unlock { challenge: id } => put(CHALLENGE, &challenge(id)),
        }
        bytes.push(0);
        let padded = bytes.len().next_multiple_of(PADDED_TO);
        bytes.resize(padded, 0);
        bytes
    }

    /// Of an opened seal. The kind is the header's: a body of another kind is refused.
    pub fn decode(kind: Kind, plain: &[u8]) -> Result<Self, MessageError> {
        let mut fields: [Option<&[u8]>; TAGS] = [None; TAGS];
        let mut rest = plain;
        loop {
            let (&tag, after) = rest.split_first().ok_or(MessageError::Malformed)?;
            if tag == 0 {
                if after.iter().any(|byte| *byte != 0) {
                    return Err(MessageError::Malformed);
                }
                break;
            }
            let (length, after) = after.split_first_chunk::<2>().ok_or(MessageError::Malformed)?;
            let (value, after) = after
                .split_at_checked(usize::from(u16::from_le_bytes(*length)))
                .ok_or(MessageError::Malformed)?;
            match fields.get_mut(usize::from(tag)) {
                Some(field) if field.is_none() => *field = Some(value),
                Some(_) => return Err(MessageError::Malformed),
                None => return Err(MessageError::Unknown),
            }
            rest = after;
        }
        let fields = Fields(fields);
        match (kind, fields.shape()) {
            (Kind::Verify, ASK | ASK_HELD) => Ok(Self::AskCode {
                user: UserName::parse(fields.text(USER)?).map_err(|_| MessageError::Malformed)?,
                held: fields.empty(HELD)?,
            }),
            (Kind::Verify, CHECK | CHECK_HELD) => Ok(Self::CheckCode {
                challenge: fields.challenge()?,
                code: fields.code()?,
                methods: fields.0[usize::from(METHODS)].map(|_| fields.methods()).transpose()?,
            }),
            (Kind::Verify, PASSWORD) => {
                Ok(Self::CheckPassword { challenge: fields.challenge()?, current: fields.current()? })
            }
            (Kind::Verify, ADD_TOTP) => Ok(Self::AddTotp {
                challenge: fields.challenge()?,
                method: fields.method(METHOD)?,
                seed: TotpSeed::from_bytes(fields.bytes(SEED)).ok_or(MessageError::Malformed)?,
                code: TotpCode::parse(fields.text(CODE)?).ok_or(MessageError::Malformed)?,
            }),
            (Kind::Verify, ADD_SHEET | NEXT_SHEET) => Ok(Self::AddRecovery {
                challenge: fields.challenge()?,
                method: fields.method(METHOD)?,
                replaces: fields.0[usize::from(REPLACES)].map(|_| fields.method(REPLACES)).transpose()?,
                codes: fields.sheet()?,
            }),
            (Kind::Verify, TEST) if fields.empty(HELD)? => Ok(Self::TestMethod {
                challenge: fields.challenge()?,
                code: fields.code()?,
                methods: fields.methods()?,
            }),
            (Kind::Verify, REMOVE) => {
                Ok(Self::RemoveMethod { challenge: fields.challenge()?, method: fields.method(METHOD)? })
            }
            (Kind::Reset, RESET) => {
                Ok(Self::Reset { challenge: fields.challenge()?, new: fields.new_password()? })
            }
            (Kind::Change, CHANGE) => Ok(Self::Change {
                challenge: fields.challenge()?,
                current: fields.current()?,
                new: fields.new_password()?,
            }),
            (Kind::Unlock, UNLOCK) => Ok(Self::Unlock { challenge: fields.challenge()? }),
            (Kind::Verify | Kind::Reset | Kind::Change | Kind::Unlock, _) => Err(MessageError::Unknown),
        }
    }
}

/// A body's fields by their tags.
struct Fields<'a>([Option<&'a [u8]>; TAGS]);

impl<'a> Fields<'a> {
    fn shape(&self) -> u32 {
        self.0.iter().enumerate().fold(0, |shape, (tag, field)| shape | u32::from(field.is_some()) << tag)
    }

    /// Only of a field that the shape has.
    fn bytes(&self, tag: u8) -> &'a [u8] {
        self.0[usize::from(tag)].unwrap_or_default()
    }

    fn text(&self, tag: u8) -> Result<&'a str, MessageError> {
        std::str::from_utf8(self.bytes(tag)).map_err(|_| MessageError::Malformed)
    }

    /// Whether there is this field, which holds nothing.
    fn empty(&self, tag: u8) -> Result<bool, MessageError> {
        let field = self.0[usize::from(tag)];
        if field.is_some_and(|field| !field.is_empty()) {
            return Err(MessageError::Malformed);
        }
        Ok(field.is_some())
    }

    fn challenge(&self) -> Result<ChallengeId, MessageError> {
        self.text(CHALLENGE)?.parse().map_err(|_| MessageError::Malformed)
    }

    fn method(&self, tag: u8) -> Result<MethodId, MessageError> {
        self.bytes(tag).try_into().map(MethodId::from_bytes).map_err(|_| MessageError::Malformed)
    }

    fn methods(&self) -> Result<Bundle, MessageError> {
        Bundle::parse(self.bytes(METHODS)).ok_or(MessageError::Malformed)
    }

    fn code(&self) -> Result<TypedCode, MessageError> {
        TypedCode::parse(self.text(CODE)?).ok_or(MessageError::Malformed)
    }

    fn sheet(&self) -> Result<Vec<RecoveryCode>, MessageError> {
        let codes = self.bytes(CODES).chunks(RecoveryCode::LENGTH).map(|code| {
            std::str::from_utf8(code).ok().and_then(RecoveryCode::parse).ok_or(MessageError::Malformed)
        });
        let codes = codes.collect::<Result<Vec<_>, _>>()?;
        if codes.len() == RecoveryCode::SHEET { Ok(codes) } else { Err(MessageError::Malformed) }
    }

    fn new_password(&self) -> Result<NewPassword, MessageError> {
        let typed = Zeroizing::new(self.bytes(NEW).to_vec());
        NewPassword::parse(typed).map_err(|_| MessageError::Malformed)
    }

    fn current(&self) -> Result<CurrentPassword, MessageError> {
        let typed = Zeroizing::new(self.bytes(CURRENT).to_vec());
        CurrentPassword::parse(typed).map_err(|_| MessageError::Malformed)
    }
}
