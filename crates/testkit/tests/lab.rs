//! The lab tells the truth about itself.

use keyback_testkit::lab::{Lab, SEEDED_PASSWORD, Samba};

#[test]
fn a_user_of_a_tests_own_binds_and_gets_a_ticket_with_its_password_only() -> anyhow::Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let user = lab.add_user("kit")?;
        assert_eq!(lab.bind(&user.upn, SEEDED_PASSWORD)?, Ok(()));
        assert_eq!(lab.bind(&user.upn, "wrong")?, Err("52e".to_owned()));
        assert!(lab.kinit(&user.sam, SEEDED_PASSWORD)?);
        assert!(!lab.kinit(&user.sam, "wrong")?);
        assert!(lab.key_version(&user)? > 0);
    }
    Ok(())
}

#[test]
fn a_private_lab_leaves_nothing_behind() -> anyhow::Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    let folder = lab.env("AD_DIR").to_owned();
    assert!(std::path::Path::new(&folder).exists());
    lab.stop_answering()?;
    drop(lab);
    assert!(!std::path::Path::new(&folder).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.contains(&folder));
    Ok(())
}
