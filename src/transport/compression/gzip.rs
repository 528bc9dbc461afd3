//! gzip, and whether a client accepts it.

use std::io::Write;

use actix_web::HttpRequest;
use actix_web::http::header::{AcceptEncoding, Encoding, Header, Preference, Quality};
use actix_web::web::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Whether the client accepts gzip.
pub fn accepts_gzip(request: &HttpRequest) -> bool {
    let gzip = Preference::Specific(Encoding::gzip());
    AcceptEncoding::parse(request).is_ok_and(|accepted| {
        let mut codings = accepted.iter();
        codings.any(|coding| coding.item == gzip && coding.quality > Quality::ZERO)
    })
}

/// The compressed bytes.
pub fn gzip(content: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 3), Compression::fast());
    encoder.write_all(content).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_weight_of_0_in_any_notation_rejects_gzip() {
        for (accepted, expected) in [
            ("gzip", true),
            ("deflate, gzip;q=0.1", true),
            ("br;q=1.0, gzip; q=0.001", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("gzip;q=0.0", false),
            ("gzip;q=0.000", false),
            ("gzip; Q=0.00", false),
            ("identity", false),
            ("gzipped", false),
            ("", false),
        ] {
            let request = TestRequest::default()
                .insert_header(("accept-encoding", accepted))
                .to_http_request();
            assert_eq!(accepts_gzip(&request), expected, "{accepted}");
        }
        assert!(!accepts_gzip(&TestRequest::default().to_http_request()));
    }
}
