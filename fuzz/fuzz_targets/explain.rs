//! Whatever is pasted, an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = keyback_codes::explain::explain_code(text);
    let _ = keyback_codes::explain::explain_text(text);
});
