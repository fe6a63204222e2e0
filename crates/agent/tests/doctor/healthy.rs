//! Users who are odd and can be reset: no verdict at all, and the reset succeeds.

use crate::support::*;
use anyhow::{Result, ensure};
use keyback_testkit::lab::{Lab, Samba};

pub const ODD: &str = r#"
ou Staff/Deep/Deeper/Deepest Staff/Closed
user h-plain    ou=Staff/Sales pw=Start-Pass1! mail=h-plain@ad.example
user h-denied   ou=Staff/Sales pw=Start-Pass1! mail=h-denied@ad.example
user h-denied2  ou=Staff/Sales pw=Start-Pass1! mail=h-denied2@ad.example
user h-denied3  ou=Staff/Sales pw=Start-Pass1! mail=h-denied3@ad.example
user h-order    ou=Staff/Sales pw=Start-Pass1! mail=h-order@ad.example
user h-trace    ou=Staff/IT    pw=Start-Pass1! mail=h-trace@ad.example
user h-pso      ou=Staff/IT    pw=Start-Pass-0001! mail=h-pso@ad.example
user h-nested   ou=Staff/IT    pw=Start-Pass1! mail=h-nested@ad.example
user h-deep     ou=Staff/Deep/Deeper/Deepest pw=Start-Pass1! mail=h-deep@ad.example
user h-upn      ou=Staff/IT    pw=Start-Pass1! mail=h-upn@ad.example upn=someone.else@ad.example
user h-foreign  ou=Staff/IT    pw=Start-Pass1! mail=h-foreign@elsewhere.example upn=h-foreign@elsewhere.example
user h-cn       ou=Staff/IT    pw=Start-Pass1! mail=h-cn@ad.example cn="Łukasz Żółw-Ångström 漢字"
user h-must     ou=Staff/IT    pw=Start-Pass1! mail=h-must@ad.example flags=mustchange
user h-old      ou=Staff/IT    pw=Start-Pass1! mail=h-old@ad.example flags=pwold
user h-smart    ou=Staff/IT    pw=Start-Pass1! mail=h-smart@ad.example flags=smartcard
user h-hours    ou=Staff/IT    pw=Start-Pass1! mail=h-hours@ad.example flags=nohours
user h-desk     ou=Staff/IT    pw=Start-Pass1! mail=h-desk@ad.example flags=workstation
user h-never    ou=Staff/IT    pw=Start-Pass1! mail=h-never@ad.example flags=neverexpires
user h-inet     ou=Staff/IT    pw=Start-Pass1! mail=h-inet@ad.example class=inetOrgPerson
user h-owned    ou=Staff/Closed pw=Start-Pass1! mail=h-owned@ad.example
user h-proxy    ou=Staff/IT    pw=Start-Pass1! mail=h-proxy@ad.example proxy=SMTP:h-proxy@ad.example,smtp:other@ad.example anchor=yes
user h-apos     ou=Staff/IT    pw=Start-Pass1! mail="o'h@ad.example" upn="o'h@ad.example" cn="O'Hara-Núñez (R&D)"
group h-inner ou=Service members=h-nested
group h-middle ou=Service members=h-inner
group h-outer ou=Service members=h-middle
pso h-mild prec=5 minlen=12 apply=h-pso
ace h-denied  '(OD;;CR;00299570-246d-11d0-a768-00aa006e0529;;{bob})'
ace h-denied2 '(OD;;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;;PS)'
ace h-denied3 '(D;;WP;;;{h-outer})'
set h-trace adminCount=1
block Staff/Closed
ace Staff/Closed '(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;bf967aba-0de6-11d0-a285-00aa003049e2;{svc-keyback})' '(OA;CIIO;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;bf967aba-0de6-11d0-a285-00aa003049e2;{svc-keyback})' '(OA;CIIO;WP;28630ebf-41d5-11d1-a9c1-0000f80367c1;bf967aba-0de6-11d0-a285-00aa003049e2;{svc-keyback})' '(OA;CIIO;WP;bf967a0a-0de6-11d0-a285-00aa003049e2;bf967aba-0de6-11d0-a285-00aa003049e2;{svc-keyback})' '(A;CI;LCRPLORC;;;{svc-keyback})'
"#;

/// By a name with every character that a DN escapes, in its OU and in its own name.
const ESCAPED: &str = r#"OU=a\, b \+ c \"d\" \\ \<e\> \; f \= g \#h"#;

async fn odd_ones(samba: Samba) -> Result<()> {
    let lab = Lab::private(samba, &[])?;
    lab.seed(ODD)?;
    let base = lab.base_dn();
    lab.modify(&format!(
        "dn: {ESCAPED},OU=Staff,{base}\nchangetype: add\nobjectClass: organizationalUnit\n"
    ))?;
    let escaped = lab.add_user_in(&format!("{ESCAPED},OU=Staff"), "h-esc", "Start-Pass1!", "")?;
    // renamed, and moved
    let moved = lab.add_user("h-moved")?;
    lab.modify(&format!(
        "dn: {}\nchangetype: modrdn\nnewrdn: CN=Moved \\, and \\+ renamed\ndeleteoldrdn: 1\nnewsuperior: OU=Finance,OU=Staff,{base}\n",
        moved.dn
    ))?;
    let names = ODD.lines().filter_map(|line| line.strip_prefix("user ")?.split_whitespace().next());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.extend([escaped.sam, moved.sam, escaped.dn, escaped.guid.to_string(), "f-one".to_owned()]);
    ensure!(names.len() > 20);
    let (directory, mut setting) = (directory(&lab)?, setting(&lab)?);
    setting.mails_codes = false; // f-one has no address
    let mut failed = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let new = password(&format!("Entirely-Good-{number:02}-Zq!"))?;
        let diagnosis = doctor(&directory, &setting, name, Some(&new), None).await?;
        check_form(&diagnosis)?;
        if !diagnosis.is_healthy() {
            failed.push(format!("{name}: {:?}", verdicts(&diagnosis)));
        }
        if let Err(refused) = reset(&directory, name, &new).await? {
            failed.push(format!("{name} is not healthy: {refused:?}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

#[tokio::test]
async fn odd_users_are_left_in_peace_on_samba_4_24() -> Result<()> {
    odd_ones(Samba::V4_24).await
}

#[tokio::test]
async fn odd_users_are_left_in_peace_on_samba_4_17() -> Result<()> {
    odd_ones(Samba::Host).await
}
