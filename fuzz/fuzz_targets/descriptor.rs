//! A security descriptor from a hostile server: refused, or written as bytes that mean the same.
#![no_main]

use keyback_ad::descriptor::SecurityDescriptor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(descriptor) = SecurityDescriptor::decode(bytes)
        && let Ok(written) = descriptor.encode()
    {
        assert_eq!(SecurityDescriptor::decode(&written).as_ref(), Ok(&descriptor));
        let _ = descriptor.to_sddl(None);
    }
});
