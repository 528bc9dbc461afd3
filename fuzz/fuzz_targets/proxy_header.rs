//! Exactly the PROXY header is read, never without its end, and the client's address is where the specification puts it.

#![no_main]

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use roomwire::transport::accept::{HeaderError, read_header};

/// What is read, and how many bytes that took.
fn read(bytes: &[u8]) -> (Result<Option<SocketAddr>, HeaderError>, usize) {
    let mut rest = bytes;
    let outcome = {
        let reading = pin!(read_header(&mut rest));
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => unreachable!("bytes in memory are there at once"),
        }
    };
    (outcome, bytes.len() - rest.len())
}

/// The source in a header of version 2, whose bytes 12 and 13 are the command and the family.
fn source(header: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    match (header[12] & 0xf, header[13] >> 4) {
        (1, 1) => {
            let ip: [u8; 4] = header[16..20].try_into().expect("4 bytes");
            Some((IpAddr::V4(Ipv4Addr::from(ip)), port(24)).into())
        }
        (1, 2) => {
            let ip: [u8; 16] = header[16..32].try_into().expect("16 bytes");
            Some((IpAddr::V6(Ipv6Addr::from(ip)), port(48)).into())
        }
        _ => None,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (Ok(client), taken) = read(bytes) else {
        return;
    };
    let header = &bytes[..taken];
    if header[0] == b'P' {
        assert!(header.ends_with(b"\r\n") && taken <= 107);
    } else {
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        assert_eq!(taken, 16 + rest);
        assert_eq!(client, source(header), "{header:?}");
    }
    let (again, all) = read(header);
    assert_eq!((again.ok(), all), (Some(client), taken));
    for length in 0..taken {
        let (cut, _) = read(&header[..length]);
        assert!(matches!(cut, Err(HeaderError::Io(_))), "{cut:?}");
    }
});
