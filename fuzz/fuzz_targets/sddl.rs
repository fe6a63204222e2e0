//! Any text as SDDL.
#![no_main]

use keyback_ad::descriptor::{Ace, SecurityDescriptor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = SecurityDescriptor::from_sddl(text, None);
    let _ = Ace::from_sddl(text, None);
});
