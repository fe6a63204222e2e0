//! Access masks, ACE flags and control bits: sets of bits, each a type of its own.

macro_rules! bit_set {
    ($(#[$doc:meta])+ $name:ident($bits:ty) { $($(#[$each:meta])+ $constant:ident = $value:expr;)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub $bits);

        impl $name {
            $($(#[$each])+ pub const $constant: Self = Self($value);)+

            /// Whether all bits of `other` are set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any bit of `other` is set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// These bits but those of `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// These bits and those of `other`.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl std::ops::BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                self.with(other)
            }
        }
    };
}

bit_set! {
    /// The rights that an ACE gives or takes ([MS-DTYP] 2.4.3, [MS-ADTS] 5.1.3.2).
    AccessMask(u32) {
        /// CC: create children.
        CREATE_CHILD = 0x1;
        /// DC: delete children.
        DELETE_CHILD = 0x2;
        /// LC: list children.
        LIST = 0x4;
        /// SW: validated writes.
        SELF_WRITE = 0x8;
        /// RP: read properties.
        READ_PROPERTY = 0x10;
        /// WP: write properties.
        WRITE_PROPERTY = 0x20;
        /// DT: delete with everything below.
        DELETE_TREE = 0x40;
        /// LO: see the object in list-object mode.
        LIST_OBJECT = 0x80;
        /// CR: control access, the rights of CN=Extended-Rights.
        CONTROL_ACCESS = 0x100;
        /// SD: delete.
        DELETE = 0x1_0000;
        /// RC: read owner, group and DACL.
        READ_CONTROL = 0x2_0000;
        /// WD: write the DACL.
        WRITE_DAC = 0x4_0000;
        /// WO: take ownership.
        WRITE_OWNER = 0x8_0000;
        /// GA.
        GENERIC_ALL = 0x1000_0000;
        /// GX.
        GENERIC_EXECUTE = 0x2000_0000;
        /// GW.
        GENERIC_WRITE = 0x4000_0000;
        /// GR.
        GENERIC_READ = 0x8000_0000;
        /// Everything that a directory object has: what GA means.
        ALL = 0xf_01ff;
    }
}

impl AccessMask {
    /// What each generic right means for a directory object ([MS-ADTS] 5.1.3.2).
    const GENERIC: [(Self, Self); 4] = [
        (Self::GENERIC_READ, Self(0x2_0094)),
        (Self::GENERIC_WRITE, Self(0x2_0028)),
        (Self::GENERIC_EXECUTE, Self(0x2_0004)),
        (Self::GENERIC_ALL, Self::ALL),
    ];

    /// The generic rights replaced by what they mean. A directory maps them when it stores an ACE that is effective.
    #[must_use]
    pub fn mapped(self) -> Self {
        Self::GENERIC.into_iter().fold(self, |mask, (generic, meaning)| {
            if mask.intersects(generic) { mask.without(generic) | meaning } else { mask }
        })
    }
}

bit_set! {
    /// How an ACE is inherited ([MS-DTYP] 2.4.4.1).
    AceFlags(u8) {
        /// OI: for children that are no containers. Every directory object is a container.
        OBJECT_INHERIT = 0x1;
        /// CI: for children that are containers.
        CONTAINER_INHERIT = 0x2;
        /// NP: children do not pass it on.
        NO_PROPAGATE = 0x4;
        /// IO: not for the object itself.
        INHERIT_ONLY = 0x8;
        /// ID: it came from above.
        INHERITED = 0x10;
        /// SA: audit what succeeds.
        SUCCESSFUL_ACCESS = 0x40;
        /// FA: audit what fails.
        FAILED_ACCESS = 0x80;
    }
}

bit_set! {
    /// The control bits of a descriptor ([MS-DTYP] 2.4.6).
    Control(u16) {
        /// The DACL counts; without it there is none.
        DACL_PRESENT = 0x4;
        /// The SACL counts.
        SACL_PRESENT = 0x10;
        /// AR: a descriptor to write asks for propagation.
        DACL_AUTO_INHERIT_REQUIRED = 0x100;
        /// The same for the SACL.
        SACL_AUTO_INHERIT_REQUIRED = 0x200;
        /// AI: the DACL was made by inheritance.
        DACL_AUTO_INHERITED = 0x400;
        /// The same for the SACL.
        SACL_AUTO_INHERITED = 0x800;
        /// P: inheritance from above is off.
        DACL_PROTECTED = 0x1000;
        /// The same for the SACL.
        SACL_PROTECTED = 0x2000;
        /// One block of bytes with offsets: always, here.
        SELF_RELATIVE = 0x8000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_rights_mean_what_the_directory_says() {
        assert_eq!(AccessMask::GENERIC_ALL.mapped(), AccessMask::ALL);
        let mask = AccessMask::GENERIC_READ | AccessMask::CONTROL_ACCESS;
        assert_eq!(mask.mapped(), AccessMask(0x2_0194));
        assert_eq!(AccessMask(0x2_0194).mapped(), AccessMask(0x2_0194));
    }
}
