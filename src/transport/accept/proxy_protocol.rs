//! The header with which a proxy reports the address of its client (PROXY protocol, versions 1 and 2).
//!
//! `proxy-header` parses it; this file reads exactly the header, so that the bytes after it stay in the socket. The
//! specification is <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// First bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// First bytes of version 1.
const TEXT_SIGNATURE: &[u8] = b"PROXY ";
/// Bytes of version 2 before the addresses; the last two are the length of the rest.
const FIXED_LENGTH: usize = 16;
/// Maximum length of a header of version 1 in bytes, with its line end.
const LONGEST_TEXT: usize = 107;
/// Maximum length of a header of version 2 in bytes: addresses, and a few hundred bytes of extensions (TLS details,
/// ids).
const LONGEST: usize = 4096;

/// Why a header is rejected.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection ended or was lost.
    #[error("connection ended within its PROXY header ({0})")]
    Io(#[from] io::Error),
    /// The connection begins with something else.
    #[error("no PROXY header")]
    Missing,
    /// The header is too long.
    #[error("PROXY header of more than {0} bytes")]
    TooLong(usize),
    /// The header cannot be parsed.
    #[error("malformed PROXY header ({0})")]
    Malformed(proxy_header::Error),
}

/// Reads the header; returns the address of the client, or `None` if the connection is the proxy's own (a health check)
/// or the client has no IP address.
///
/// # Errors
/// There is no valid header, so the connection must be closed.
pub async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_binary_rest(stream, &mut header).await?;
    } else if header.starts_with(TEXT_SIGNATURE) {
        read_text_rest(stream, &mut header).await?;
    } else {
        return Err(HeaderError::Missing);
    }
    let (parsed, _) =
        ProxyHeader::parse(&header, ParseConfig::default()).map_err(HeaderError::Malformed)?;
    Ok(parsed.proxied_address().map(|address| address.source))
}

async fn read_binary_rest(
    stream: &mut (impl AsyncRead + Unpin),
    header: &mut Vec<u8>,
) -> Result<(), HeaderError> {
    header.resize(FIXED_LENGTH, 0);
    stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if FIXED_LENGTH + length > LONGEST {
        return Err(HeaderError::TooLong(LONGEST));
    }
    header.resize(FIXED_LENGTH + length, 0);
    stream.read_exact(&mut header[FIXED_LENGTH..]).await?;
    Ok(())
}

/// Reads byte by byte, since the length of the line is known only at its end.
async fn read_text_rest(
    stream: &mut (impl AsyncRead + Unpin),
    header: &mut Vec<u8>,
) -> Result<(), HeaderError> {
    while !header.ends_with(b"\r\n") {
        if header.len() == LONGEST_TEXT {
            return Err(HeaderError::TooLong(LONGEST_TEXT));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proxy_header::ProxiedAddress;

    use super::*;

    /// What is read of these bytes, and what is left behind the header.
    async fn read(bytes: &[u8]) -> (Result<Option<String>, String>, usize) {
        let mut rest = bytes;
        let read = read_header(&mut rest).await;
        let shown = read
            .map(|client| client.map(|address| address.to_string()))
            .map_err(|error| error.to_string());
        (shown, rest.len())
    }

    fn binary(header: &ProxyHeader<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        header.encode_v2(&mut bytes).unwrap();
        bytes
    }

    fn from(source: &str, destination: &str) -> ProxyHeader<'static> {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        ProxyHeader::with_address(ProxiedAddress::stream(parse(source), parse(destination)))
    }

    #[tokio::test]
    async fn the_address_is_returned_and_the_bytes_after_the_header_stay() {
        let four = binary(&from("192.0.2.7:4711", "10.0.0.1:80"));
        let six = binary(&from("[2001:db8::7]:4711", "[fd00::1]:80"));
        let mut extras = from("192.0.2.7:4711", "10.0.0.1:80");
        extras.append_tlv(proxy_header::Tlv::Custom(0xea, vec![7; 100].into()));
        let cases: [(&[u8], Option<&str>); 7] = [
            (&four, Some("192.0.2.7:4711")),
            (&six, Some("[2001:db8::7]:4711")),
            (&binary(&extras), Some("192.0.2.7:4711")),
            (&binary(&ProxyHeader::with_local()), None),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n",
                Some("192.0.2.7:4711"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 fd00::1 4711 80\r\n",
                Some("[2001:db8::7]:4711"),
            ),
            (b"PROXY UNKNOWN\r\n", None),
        ];
        for (header, client) in cases {
            let bytes = [header, b"GET / HTTP/1.1"].concat();
            let expected = (Ok(client.map(str::to_owned)), 14);
            assert_eq!(read(&bytes).await, expected, "{header:?}");
        }
    }

    #[tokio::test]
    async fn other_input_is_rejected_with_the_reason() {
        let mut long = binary(&ProxyHeader::with_local());
        long[14..16].copy_from_slice(&[0xff, 0xff]);
        let mut version_3 = binary(&from("192.0.2.7:4711", "10.0.0.1:80"));
        version_3[12] = 0x31;
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let cut = &binary(&from("192.0.2.7:4711", "10.0.0.1:80"))[..20];
        let cases: [(&[u8], &str); 7] = [
            (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
            (
                b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\x01",
                "no PROXY header",
            ),
            (&long, "more than 4096 bytes"),
            (&endless, "more than 107 bytes"),
            (&version_3, "malformed PROXY header"),
            (b"PROXY TCP4 a b c d\r\n", "malformed PROXY header"),
            (cut, "ended within its PROXY header"),
        ];
        for (bytes, expected) in cases {
            let (read, _) = read(bytes).await;
            let error = read.unwrap_err();
            assert!(error.contains(expected), "{error}: {expected}");
        }
    }
}
