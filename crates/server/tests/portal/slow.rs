//! Slow clients and crowds of connections: cut or kept out, and others are served meanwhile.

use crate::Tested;
use crate::live::{SOON, Served, certificate, serve};
use crate::site::Site;
use keyback_server::web::Limits;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

const SHORT: Duration = Duration::from_millis(200);

async fn connect(to: SocketAddr, from: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    socket.connect(to).await
}

/// A page for somebody who is in no hurry to go on.
async fn is_served(served: &Served, from: &str) -> Result<bool, Box<dyn Error>> {
    let mut stream = connect(served.address, from).await?;
    let answer = async {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    Ok(timeout(SOON, answer).await?.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200")))
}

/// Whether the server hangs up, within the limit; how long it took.
async fn is_cut(stream: &mut TcpStream) -> Result<Duration, Box<dyn Error>> {
    let (began, mut rest) = (Instant::now(), Vec::new());
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await?; // an end or a reset
    Ok(began.elapsed())
}

/// Fault: slow-loris: header, idle connection => cut, others served meanwhile
#[tokio::test]
async fn slow_headers_slow_bodies_and_idle_connections_are_cut_and_others_are_served_meanwhile() -> Tested {
    let site = Site::new().await?;
    let limits = Limits { header: SHORT, ..Limits::default() };
    let served = serve(&site, None, limits).await?;
    let post = "POST /reset HTTP/1.1\r\nHost: reset.example.org\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let full = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut slow = Vec::new();
    for begun in ["", "G", "GET / HTTP/1.1\r\nHost: reset.exam", post, full] {
        for _ in 0..8 {
            let mut stream = connect(served.address, "127.0.0.2").await?;
            stream.write_all(begun.as_bytes()).await?;
            slow.push(stream);
        }
    }
    // Dripping does not help: the limit is for the whole header.
    let mut dripping = connect(served.address, "127.0.0.2").await?;
    let drip = async {
        loop {
            if dripping.write_all(b"G").await.is_err()
                || timeout(SHORT / 10, dripping.read_u8()).await.is_ok()
            {
                return;
            }
        }
    };
    let (dripped, others) = tokio::join!(timeout(SOON, drip), is_served(&served, "127.0.0.3"));
    dripped?;
    assert!(others?);
    for stream in &mut slow {
        is_cut(stream).await?;
    }
    Ok(())
}

/// Fault: slow-loris: body => 408, others served meanwhile
#[tokio::test]
async fn a_body_that_does_not_come_ends_with_408_after_ten_seconds_and_others_are_served_meanwhile() -> Tested
{
    let site = Site::new().await?;
    let served = serve(&site, None, Limits::default()).await?;
    let mut slow = connect(served.address, "127.0.0.2").await?;
    let head = "POST /reset HTTP/1.1\r\nHost: reset.example.org\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 100\r\n\r\nuser=a";
    slow.write_all(head.as_bytes()).await?;
    assert!(is_served(&served, "127.0.0.3").await?);
    let mut answer = Vec::new();
    let _ = timeout(SOON * 2, slow.read_to_end(&mut answer)).await?;
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Fault: slow-loris: TLS handshake => cut
#[tokio::test]
async fn a_tls_handshake_that_does_not_come_is_cut_and_http2_is_not_spoken() -> Tested {
    let site = Site::new().await?;
    let limits = Limits { handshake: SHORT, ..Limits::default() };
    let (tls, client) = certificate()?;
    let served = serve(&site, Some(tls), limits).await?;
    let mut silent = connect(served.address, "127.0.0.2").await?;
    let mut half = connect(served.address, "127.0.0.2").await?;
    half.write_all(&[22, 3, 1, 2, 0, 1]).await?; // the first bytes of a ClientHello
    is_cut(&mut silent).await?;
    is_cut(&mut half).await?;
    let mut only_h2 = client.clone();
    only_h2.alpn_protocols = vec![b"h2".to_vec()];
    for (config, is_spoken) in [(client, true), (only_h2, false)] {
        let stream = connect(served.address, "127.0.0.3").await?;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let shaken = connector.connect("reset.example.org".try_into()?, stream).await;
        assert_eq!(shaken.is_ok(), is_spoken);
    }
    Ok(())
}

#[tokio::test]
async fn http2_without_tls_is_refused() -> Tested {
    let site = Site::new().await?;
    let served = serve(&site, None, Limits::default()).await?;
    let mut stream = connect(served.address, "127.0.0.2").await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await?;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Fault: a client that does not read its answer => cut
#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut() -> Tested {
    let site = Site::new().await?;
    let limits = Limits { stall: SHORT, connections: 2, ..Limits::default() };
    let served = serve(&site, None, limits).await?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut deaf = socket.connect(served.address).await?;
    // More than the buffers of both ends hold.
    let request = b"GET /errors/search.json HTTP/1.1\r\nHost: reset.example.org\r\n\r\n";
    let filled = async {
        loop {
            if deaf.write_all(request).await.is_err() {
                return;
            }
        }
    };
    timeout(SOON, filled).await?;
    assert!(is_served(&served, "127.0.0.3").await?);
    Ok(())
}

/// Fault: 200 connections from one network => ten stay, others are served
#[tokio::test]
async fn a_crowd_from_one_network_leaves_room_for_others() -> Tested {
    let site = Site::new().await?;
    let limits = Limits { connections: 100, connections_per_source: 10, ..Limits::default() };
    let served = serve(&site, None, limits).await?;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(connect(served.address, "127.0.0.2").await?);
    }
    for from in ["127.0.0.3", "127.0.0.4"] {
        assert!(is_served(&served, from).await?, "{from}");
    }
    assert!(!is_served(&served, "127.0.0.2").await?, "the crowd's own network is full");
    // Of the two hundred, ten are still there.
    let mut there = 0;
    for stream in &mut crowd {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.ok();
        let mut byte = [0; 1];
        there += usize::from(timeout(SOON, stream.read(&mut byte)).await?.is_ok_and(|read| read == 1));
    }
    assert_eq!(there, 10);
    drop(crowd);
    let freed = async {
        while !is_served(&served, "127.0.0.2").await.unwrap_or_default() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, freed).await?;
    Ok(())
}
