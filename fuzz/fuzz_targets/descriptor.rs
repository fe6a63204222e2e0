//! A security descriptor from a hostile server: refused, or written as bytes that mean the same.
#![no_main]

use keyback_ad::descriptor::SecurityDescriptor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(descriptor) = SecurityDescriptor::decode(bytes)
        && let Ok(written) = descriptor.encode()
    {
        // Where the parts lie may differ: hostile ones overlap.
        let Ok(again) = SecurityDescriptor::decode(&written) else { panic!("what we wrote is refused") };
        assert_eq!(
            (again.control, &again.owner, &again.group, &again.sacl, &again.dacl),
            (descriptor.control, &descriptor.owner, &descriptor.group, &descriptor.sacl, &descriptor.dacl)
        );
        let _ = descriptor.to_sddl(None);
    }
});
