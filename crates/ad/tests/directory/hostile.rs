//! A domain controller that is none: whatever it sends, keyback ends with a clear error, in time, and without the memory
//! that was asked of it.

use crate::support::*;
use anyhow::{Context, Result, bail};
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, DirectoryError, FindError, Limits, Step};
use keyback_codes::{Cause, Explain};
use keyback_core::{Clock, SystemClock};
use keyback_testkit::hostile::{
    Authority, HOST, carry_on, entry as object, message, nested, result, serve, tlv,
};
use keyback_testkit::lab::{Lab, Samba};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

fn bind_succeeds() -> Vec<u8> {
    message(&[1], &result(0x61, 0, ""))
}

fn entry() -> Vec<u8> {
    message(&[2], &object(b"DC=x", &[]))
}

/// Serves every connection with `evil`, after the bind request was read.
async fn directory_at<F: Future<Output = ()> + Send>(
    authority: &Authority,
    expired: bool,
    evil: impl Fn(TlsStream<TcpStream>) -> F + Send + Clone + 'static,
) -> Result<Directory> {
    let talk = move |mut stream: TlsStream<TcpStream>| {
        let evil = evil.clone();
        async move {
            if stream.read(&mut [0; 4096]).await.is_ok() {
                evil(stream).await;
            }
        }
    };
    directory_for(authority, serve(authority.acceptor(expired)?, talk).await?)
}

fn directory_for(authority: &Authority, address: SocketAddr) -> Result<Directory> {
    Ok(Directory::new(DirectoryConfig {
        dcs: vec![format!("ldaps://{HOST}:{}", address.port()).parse::<DcAddress>()?.at(address.ip())],
        ca_pem: authority.pem().as_bytes().to_vec(),
        connector: Connector::new("svc".to_owned(), Zeroizing::new("a connector's password".to_owned()))?,
        base: None,
        limits: Limits { bind: Duration::from_secs(2), read: Duration::from_secs(2), ..Limits::default() },
    })?)
}

async fn fails(directory: &Directory) -> Result<DirectoryError> {
    let started = Instant::now();
    let found = directory.find_user(&name("anybody")?).await;
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    match found {
        Err(FindError::Directory(error)) => Ok(error),
        other => bail!("it was believed: {other:?}"),
    }
}

/// What the largest moment of this process needed, in KiB.
fn peak_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Answers the bind with `bytes`, then waits.
async fn answers(bytes: Vec<u8>) -> Result<DirectoryError> {
    let authority = Authority::new()?;
    let evil = move |mut stream: TlsStream<TcpStream>| {
        let bytes = bytes.clone();
        async move {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    };
    fails(&directory_at(&authority, false, evil).await?).await
}

/// Fault: a server sends what is no LDAP => a protocol error, no panic
#[tokio::test]
async fn what_is_no_ldap_is_a_protocol_error() -> Result<()> {
    for (what, bytes) in [
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("zeros", vec![0; 100_000]),
        ("a message without end", vec![0x30, 0x80, 2, 1, 1]),
        ("4 GiB announced", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1, 1]),
        ("2^64 bytes announced", vec![0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("deep nesting", nested(100_000)),
        ("deep nesting in an answer", message(&[1], &nested(100_000))),
        ("an empty message", tlv(0x30, &[])),
        ("no message id", tlv(0x30, &result(0x61, 0, ""))),
        ("an operation that is none", message(&[1], &tlv(0x7e, &[]))),
        ("a request", message(&[1], &tlv(0x63, &[]))),
        ("a result without code", message(&[1], &tlv(0x61, &[]))),
        ("an answer to nobody", message(&[77], &result(0x61, 0, ""))),
    ] {
        let error = answers(bytes).await.with_context(|| what.to_owned())?;
        assert!(matches!(error, DirectoryError::Protocol { step: Step::Bind, .. }), "{what}: {error:?}");
        assert_eq!(error.cause(), Cause::ProtocolError);
    }
    Ok(())
}

#[tokio::test]
async fn a_farewell_is_reported_in_the_server_s_words() -> Result<()> {
    let error = answers(message(&[0], &result(0x78, 52, "shutting down\n\0"))).await?;
    assert!(
        matches!(&error, DirectoryError::Closed { reason, .. } if reason.ends_with("shutting down")),
        "{error:?}"
    );
    Ok(())
}

/// Fault: a server says nothing after the TLS handshake => cut off at the limit of the bind
#[tokio::test]
async fn a_server_that_says_nothing_after_the_handshake_runs_out_of_time() -> Result<()> {
    let error = answers(Vec::new()).await?;
    assert!(matches!(error, DirectoryError::TimedOut { step: Step::Bind, .. }), "{error:?}");
    Ok(())
}

/// Fault: a DC drips one byte at a time => cut off at the limit of the operation
#[tokio::test]
async fn a_server_that_sends_byte_by_byte_runs_out_of_time() -> Result<()> {
    let authority = Authority::new()?;
    let evil = |mut stream: TlsStream<TcpStream>| async move {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        for byte in bind_succeeds().into_iter().cycle() {
            tick.tick().await;
            if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    };
    let error = fails(&directory_at(&authority, false, evil).await?).await?;
    assert!(matches!(error, DirectoryError::TimedOut { step: Step::Bind, .. }), "{error:?}");
    Ok(())
}

/// Fault: a DC never stops sending => cut off at the limits on size and count
#[tokio::test]
async fn a_server_that_never_stops_sending_is_cut_off() -> Result<()> {
    let before = peak_memory()?;
    let authority = Authority::new()?;
    let evil = |mut stream: TlsStream<TcpStream>| async move {
        let entries = entry().repeat(1_000);
        let _ = stream.write_all(&bind_succeeds()).await;
        let _ = stream.flush().await;
        let _ = stream.read(&mut [0; 4096]).await;
        while stream.write_all(&entries).await.is_ok() {}
    };
    let error = fails(&directory_at(&authority, false, evil).await?).await?;
    assert!(matches!(error, DirectoryError::Protocol { step: Step::RootDse, .. }), "{error:?}");
    let grown = peak_memory()? - before;
    assert!(grown < 100_000, "{grown} KiB more at the peak");
    Ok(())
}

#[tokio::test]
async fn a_message_just_under_the_limit_does_not_cost_a_multiple_without_bound() -> Result<()> {
    let before = peak_memory()?;
    let hollow = [5, 0].repeat(500_000); // half a million empty values
    let error = answers(message(&[1], &tlv(0x61, &hollow))).await?;
    assert!(matches!(error, DirectoryError::Protocol { .. }), "{error:?}");
    let grown = peak_memory()? - before;
    assert!(grown < 150_000, "{grown} KiB more at the peak");
    Ok(())
}

/// Fault: a server says success to everything => not believed
#[tokio::test]
async fn success_without_a_domain_behind_it_is_not_believed() -> Result<()> {
    let authority = Authority::new()?;
    let evil = |mut stream: TlsStream<TcpStream>| async move {
        let _ = stream.write_all(&bind_succeeds()).await;
        let _ = stream.flush().await;
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(&[entry(), message(&[2], &result(0x65, 0, ""))].concat()).await;
        let _ = stream.flush().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let error = fails(&directory_at(&authority, false, evil).await?).await?;
    assert!(matches!(error, DirectoryError::Protocol { step: Step::RootDse, .. }), "{error:?}");
    Ok(())
}

/// Fault: the DC's certificate has expired => refused, with its dates
#[tokio::test]
async fn an_expired_certificate_is_refused_and_its_dates_are_shown() -> Result<()> {
    let authority = Authority::new()?;
    let error = fails(&directory_at(&authority, true, |_| async {}).await?).await?;
    assert_eq!(error.cause(), Cause::DcTlsExpired, "{error:?}");
    let dates: Vec<_> = error.failure().evidence.into_iter().map(|fact| fact.value).collect();
    assert!(dates.contains(&"2002-02-02T00:00:00.000Z".to_owned()), "{dates:?}");
    Ok(())
}

/// Fault: the DC's certificate expires in mid-run => kept connections go on, the next one is refused with the cause named
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_in_mid_run_is_named_at_the_next_connection() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let authority = Authority::new()?;
    let until = SystemClock.now().plus(Duration::from_secs(4));
    let (server, host, ca) = (lab.ldaps(), lab.fqdn().to_owned(), std::fs::read(lab.ca_file())?);
    let talk = move |stream: TlsStream<TcpStream>| {
        let (host, ca) = (host.clone(), ca.clone());
        async move {
            let _ = carry_on(stream, server, &host, &ca).await; // until one of the two hangs up
        }
    };
    let cutter = Cutter::start(serve(authority.acceptor_until(until)?, talk).await?).await?;
    let (connector, password) = lab.connector();
    let dc = format!("ldaps://{HOST}:{}", cutter.address.port()).parse::<DcAddress>()?;
    let directory = Directory::new(DirectoryConfig {
        dcs: vec![dc.at(cutter.address.ip())],
        ca_pem: authority.pem().as_bytes().to_vec(),
        ..config_as(&lab, Vec::new(), connector, password)?
    })?;
    let user = lab.add_user("expires")?;
    directory.begin_write(user.guid).await?; // both connections are open now
    let started = Instant::now();
    while SystemClock.now() < until.plus(Duration::from_secs(1)) {
        assert!(started.elapsed() < Duration::from_secs(20), "the clock stands still");
        tokio::time::sleep(Duration::from_millis(50)).await; // the certificate's own clock, seen only by looking again
    }
    let write = directory.begin_write(user.guid).await?;
    write.reset(&new_password("Expires-Soon-1!")?, false).await?;
    assert!(lab.kinit(&user.sam, "Expires-Soon-1!")?);
    cutter.cut();
    let error = fails(&directory).await?;
    assert_eq!(error.cause(), Cause::DcTlsExpired, "{error:?}");
    Ok(())
}

/// Fault: a hostile DC repeats the connector's password in its answer => withheld from every record
#[tokio::test]
async fn an_answer_that_repeats_the_connector_s_password_is_withheld() -> Result<()> {
    let echo = result(0x61, 49, "no: a connector's password");
    let error = answers(message(&[1], &echo)).await?;
    assert!(matches!(error, DirectoryError::BindRefused { .. }), "{error:?}");
    assert!(!format!("{error:?} {:?}", error.failure()).contains("a connector's password"));
    Ok(())
}

/// Fault: garbage instead of a TLS handshake => named
#[tokio::test]
async fn garbage_instead_of_a_handshake_is_named() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let error = fails(&directory_for(&Authority::new()?, address)?).await?;
    assert!(matches!(error, DirectoryError::Handshake { .. }), "{error:?}");
    Ok(())
}
