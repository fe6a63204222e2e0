//! From edits to exact values, made of what the account that mends reads.

use super::{Edit, Mend, Plan, Target};
use keyback_ad::descriptor::{Control, SecurityDescriptor};
use keyback_ad::{Attribute, MendError, Mender, Object, ValueChange};

/// userAccountControl ([MS-ADTS] 2.2.16).
const DISABLED: u32 = 0x2;

/// Exact changes of one object.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The object, as it was read.
    pub object: Object,
    /// What they are for.
    pub mend: Mend,
    /// The values. Empty: somebody has made the change already.
    pub changes: Vec<ValueChange>,
}

/// What was read does not let a change be made up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unfit {
    /// It could not be read at all.
    #[error(transparent)]
    Mend(#[from] MendError),
    /// This account cannot read the attribute.
    #[error("this account cannot read {} of {dn}", attribute.name())]
    Unreadable {
        /// Where it lies.
        dn: String,
        /// Which attribute.
        attribute: Attribute,
    },
    /// The DACL would grow beyond what its format can hold.
    #[error("the DACL of {dn} is full")]
    Full {
        /// Where it lies.
        dn: String,
    },
}

/// Reads every object of a plan and makes the exact values.
pub async fn prepare(mender: &Mender, plan: &Plan) -> Result<Vec<Draft>, Unfit> {
    let mut drafts = Vec::with_capacity(plan.mends.len());
    for mend in &plan.mends {
        let object = match &mend.target {
            Target::Object(dn) => mender.read(dn).await?,
            Target::Account(name) => mender.find_account(name).await?,
        };
        drafts.push(draft(mend, object)?);
    }
    Ok(drafts)
}

/// Makes the exact values for one object. Asks nobody.
pub(super) fn draft(mend: &Mend, object: Object) -> Result<Draft, Unfit> {
    let dn = object.dn.to_string();
    let unreadable = |attribute| Unfit::Unreadable { dn: dn.clone(), attribute };
    let mut changes = Vec::new();
    let mut change = |attribute: Attribute, after: Option<Vec<u8>>| {
        let before = object.value(attribute).map(<[u8]>::to_vec);
        if before != after {
            changes.push(ValueChange { attribute, before, after });
        }
    };
    let mut descriptor: Option<SecurityDescriptor> = None;
    for edit in &mend.edits {
        match edit {
            Edit::Add(_) | Edit::Remove(_) | Edit::Inherit => {
                let whole = match descriptor.take() {
                    Some(known) => known,
                    None => object.descriptor().ok_or_else(|| unreadable(Attribute::Descriptor))?,
                };
                descriptor = Some(edited(whole, edit));
            }
            Edit::Unlock => match object.value(Attribute::LockoutTime) {
                None | Some(b"0") => {}
                Some(_) => change(Attribute::LockoutTime, Some(b"0".to_vec())),
            },
            Edit::ForgetAdminCount => change(Attribute::AdminCount, None),
            Edit::Enable => {
                let attribute = Attribute::UserAccountControl;
                let control = object.value(attribute).and_then(|value| std::str::from_utf8(value).ok());
                let control: i32 =
                    control.and_then(|text| text.parse().ok()).ok_or_else(|| unreadable(attribute))?;
                let enabled = (control.cast_unsigned() & !DISABLED).cast_signed();
                change(attribute, Some(enabled.to_string().into_bytes()));
            }
        }
    }
    if let Some(descriptor) = descriptor {
        let bytes = descriptor.encode().map_err(|_| Unfit::Full { dn: dn.clone() })?;
        change(Attribute::Descriptor, Some(bytes));
    }
    Ok(Draft { object, mend: mend.clone(), changes })
}

/// Inherited ACEs are left as they are: the server makes them anew from what lies above (measured on Samba 4.17.12 and
/// 4.24.7: with P cleared all of them come back, with P set again the bytes are what they were).
fn edited(mut descriptor: SecurityDescriptor, edit: &Edit) -> SecurityDescriptor {
    match edit {
        Edit::Inherit => descriptor.control = descriptor.control.without(Control::DACL_PROTECTED),
        Edit::Add(ace) => {
            let dacl = descriptor.dacl.get_or_insert_default();
            if !dacl.aces.contains(ace) {
                dacl.insert(ace.clone());
            }
        }
        Edit::Remove(ace) => {
            if let Some(dacl) = &mut descriptor.dacl {
                dacl.aces.retain(|own| own != ace);
            }
        }
        Edit::Unlock | Edit::ForgetAdminCount | Edit::Enable => {}
    }
    descriptor
}

impl Draft {
    /// The attributes that the server does not let this account write.
    pub fn not_allowed(&self) -> Vec<Attribute> {
        let attributes = self.changes.iter().map(|change| change.attribute);
        attributes.filter(|attribute| !self.object.may_write(*attribute)).collect()
    }

    /// Writes it by one modify, unless somebody else changed the object since it was read.
    pub async fn apply(&self, mender: &Mender) -> Result<(), MendError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        mender.write(&self.object, &self.changes).await
    }
}
