//! Mending writes only over what was read, and only four attributes.

use crate::support::*;
use anyhow::{Context, Result, ensure};
use keyback_ad::descriptor::{AccessMask, Ace};
use keyback_ad::guid::RESET_PASSWORD;
use keyback_ad::{Attribute, Connector, Dn, MendError, Mender, Object, ValueChange};
use keyback_testkit::lab::{Lab, Samba};
use zeroize::Zeroizing;

async fn mender(lab: &Lab) -> Result<Mender> {
    let account = lab.administrator();
    let account = Connector::new(account.name.to_owned(), Zeroizing::new(account.password.to_owned()))?;
    let directory = keyback_ad::Directory::new(config(lab, vec![address(lab)?])?)?.signed_in_as(account);
    Ok(directory.open_mender(None).await?)
}

fn with_one_more_ace(object: &Object) -> Result<ValueChange> {
    let mut descriptor = object.descriptor().context("no descriptor")?;
    let everyone = "S-1-1-0".parse()?;
    let dacl = descriptor.dacl.as_mut().context("no DACL")?;
    dacl.insert(Ace::deny(AccessMask::CONTROL_ACCESS, Some(RESET_PASSWORD), everyone));
    Ok(ValueChange {
        attribute: Attribute::Descriptor,
        before: object.value(Attribute::Descriptor).map(<[u8]>::to_vec),
        after: Some(descriptor.encode()?),
    })
}

fn admin_count(before: Option<&str>, after: Option<&str>) -> ValueChange {
    let bytes = |text: &str| text.as_bytes().to_vec();
    ValueChange { attribute: Attribute::AdminCount, before: before.map(bytes), after: after.map(bytes) }
}

on_both! {
    async fn what_somebody_else_changed_since_is_not_overwritten(lab) {
        let user = lab.add_user("mend")?;
        let mender = mender(&lab).await?;
        let object = mender.read(&Dn::parse(&user.dn)?).await?;
        let change = with_one_more_ace(&object)?;
        let mine = [change.clone(), admin_count(None, Some("1"))];
        mender.write(&object, &mine).await?;

        // Made of what was there before: both attributes are different by now.
        let late = mender.write(&object, &mine).await;
        ensure!(matches!(&late, Err(MendError::Changed { attribute: Attribute::Descriptor, .. })), "{late:?}");
        let object = mender.read_by_guid(object.guid).await?;
        let wrong = mender.write(&object, &[admin_count(Some("5"), None)]).await;
        ensure!(matches!(wrong, Err(MendError::Changed { attribute: Attribute::AdminCount, .. })), "{wrong:?}");
        ensure!(object.value(Attribute::AdminCount) == Some(b"1"), "adminCount was changed");

        let back = ValueChange {
            attribute: Attribute::Descriptor,
            before: object.value(Attribute::Descriptor).map(<[u8]>::to_vec),
            after: change.before.clone(),
        };
        mender.write(&object, &[back, admin_count(Some("1"), None)]).await?;
        let object = mender.read_by_guid(object.guid).await?;
        ensure!(object.value(Attribute::Descriptor) == change.before.as_deref(), "not the same bytes");
        ensure!(object.value(Attribute::AdminCount).is_none(), "adminCount is there");
    }

    async fn who_may_write_what_is_known_before_and_a_refusal_changes_nothing(lab) {
        let user = lab.add_user("mend")?;
        let as_connector = keyback_ad::Directory::new(config(&lab, vec![address(&lab)?])?)?;
        let weak = as_connector.open_mender(None).await?;
        let object = weak.read(&Dn::parse(&user.dn)?).await?;
        ensure!(object.may_write(Attribute::LockoutTime) && !object.may_write(Attribute::Descriptor));
        ensure!(!object.may_write(Attribute::AdminCount) && !object.may_write(Attribute::UserAccountControl));
        let change = with_one_more_ace(&object)?;
        let refused = weak.write(&object, std::slice::from_ref(&change)).await;
        ensure!(matches!(&refused, Err(MendError::Refused { reply, .. }) if reply.result == 50), "{refused:?}");
        let now = weak.read_by_guid(object.guid).await?;
        ensure!(now.value(Attribute::Descriptor) == change.before.as_deref(), "it was changed");
        let strong = mender(&lab).await?.read_by_guid(object.guid).await?;
        ensure!(Attribute::ALL.into_iter().all(|attribute| strong.may_write(attribute)));
        let nobody = weak.read(&Dn::parse(&format!("CN=nobody,{}", lab.base_dn()))?).await;
        ensure!(matches!(nobody, Err(MendError::Gone { .. })), "{nobody:?}");
    }
}
