//! What the tests share. What the directory holds is asked of `ldap-utils` and Kerberos, not of keyback.

use anyhow::{Context, Result};
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_core::{CurrentPassword, NewPassword, UserName};
use keyback_testkit::lab::{Lab, TestUser};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use zeroize::Zeroizing;

/// Runs one test on each version.
macro_rules! on_both {
    ($(async fn $name:ident($lab:ident $(, $samba:ident)?) $body:block)+) => {$(
        mod $name {
            use super::*;
            async fn check(samba: Samba) -> Result<()> {
                let $lab = Lab::shared(samba)?;
                $(let $samba = samba;)?
                $body
                Ok(())
            }

            #[tokio::test]
            async fn on_samba_4_24() -> Result<()> {
                check(Samba::V4_24).await
            }

            #[tokio::test]
            async fn on_samba_4_17() -> Result<()> {
                check(Samba::Host).await
            }
        }
    )+};
}
pub(crate) use on_both;

pub fn address(lab: &Lab) -> Result<DcAddress> {
    Ok(format!("ldaps://{}", lab.fqdn()).parse::<DcAddress>()?.at(lab.ip()))
}

/// Where something else than the lab's DC listens, under the name in the DC's certificate.
pub fn address_at(lab: &Lab, at: SocketAddr) -> Result<DcAddress> {
    Ok(format!("ldaps://{}:{}", lab.fqdn(), at.port()).parse::<DcAddress>()?.at(at.ip()))
}

pub fn config(lab: &Lab, dcs: Vec<DcAddress>) -> Result<DirectoryConfig> {
    let (name, password) = lab.connector();
    config_as(lab, dcs, name, password)
}

pub fn config_as(lab: &Lab, dcs: Vec<DcAddress>, name: &str, password: &str) -> Result<DirectoryConfig> {
    Ok(DirectoryConfig {
        dcs,
        ca_pem: std::fs::read(lab.ca_file())?,
        connector: Connector::new(name.to_owned(), Zeroizing::new(password.to_owned()))?,
        base: None,
        limits: Limits::default(),
    })
}

pub fn directory(lab: &Lab) -> Result<Directory> {
    Ok(Directory::new(config(lab, vec![address(lab)?])?)?)
}

pub fn directory_as(lab: &Lab, name: &str, password: &str) -> Result<Directory> {
    Ok(Directory::new(config_as(lab, vec![address(lab)?], name, password)?)?)
}

pub fn new_password(text: &str) -> Result<NewPassword> {
    Ok(NewPassword::parse(Zeroizing::new(text.as_bytes().to_vec()))?)
}

pub fn current_password(text: &str) -> Result<CurrentPassword> {
    Ok(CurrentPassword::parse(Zeroizing::new(text.as_bytes().to_vec()))?)
}

pub fn name(text: &str) -> Result<UserName> {
    UserName::parse(text).with_context(|| text.to_owned())
}

/// Sets a password behind keyback's back.
pub fn set_password(lab: &Lab, user: &TestUser, password: &str) -> Result<()> {
    use base64::Engine;
    let quoted: Vec<u8> = format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let value = base64::engine::general_purpose::STANDARD.encode(quoted);
    lab.modify(&format!("dn: {}\nchangetype: modify\nreplace: unicodePwd\nunicodePwd:: {value}\n", user.dn))
}

/// Locks an account as guessing does.
pub fn lock_out(lab: &Lab, user: &TestUser) -> Result<()> {
    for _ in 0..8 {
        if lab.bind(&user.dn, "Wrong-Pass9!")? == Err("775".to_owned()) {
            return Ok(());
        }
    }
    anyhow::bail!("it does not get locked")
}

pub fn bad_password_count(lab: &Lab, user: &TestUser) -> Result<u32> {
    Ok(lab.attribute(&user.dn, "badPwdCount")?.map_or(Ok(0), |count| count.parse())?)
}

/// Between keyback and a DC: can cut all connections that are open, and goes on taking new ones.
pub struct Cutter {
    pub address: SocketAddr,
    cut: Arc<Notify>,
}

impl Cutter {
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let cutter = Self { address: listener.local_addr()?, cut: Arc::default() };
        let cut = Arc::clone(&cutter.cut);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let cut = Arc::clone(&cut);
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        () = cut.notified() => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        Ok(cutter)
    }

    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}
