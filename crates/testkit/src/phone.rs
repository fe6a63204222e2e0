//! An authenticator app (RFC 6238), for whoever has to type its codes.

use anyhow::{Context, Result};
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use keyback_core::{Clock, SystemClock};
use sha1::Sha1;

/// An app that was given a key.
pub struct Phone {
    seed: Vec<u8>,
}

impl Phone {
    /// With the key that a page shows, in Base32.
    pub fn new(key: &str) -> Result<Self> {
        let seed = BASE32_NOPAD.decode(key.replace(' ', "").as_bytes()).context("a key in Base32")?;
        Ok(Self { seed })
    }

    /// What it shows so many seconds from now.
    pub fn code(&self, seconds_ahead: i64) -> Result<String> {
        let step = (SystemClock.now().as_micros() / 1_000_000 + seconds_ahead).div_euclid(30);
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.seed)?;
        mac.update(&step.to_be_bytes());
        let hash = mac.finalize().into_bytes();
        let at = usize::from(hash[19] & 0xf);
        let word = u32::from_be_bytes([hash[at] & 0x7f, hash[at + 1], hash[at + 2], hash[at + 3]]);
        Ok(format!("{:06}", word % 1_000_000))
    }
}
