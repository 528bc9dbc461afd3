//! Base64 as clients and emitters in all languages write it.
//!
//! The reference server decodes leniently, and client libraries rely on that: some wrap lines after 76 characters
//! (MIME), some use the URL-safe alphabet, some omit the padding.

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine};

/// The standard alphabet. Padding is written, but optional when decoding.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes either alphabet, with or without padding, ignoring line breaks.
///
/// # Errors
/// There is a character outside both alphabets, or the length is impossible.
pub fn decode_lenient(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    // Most texts need no normalization, and so no copy.
    BASE64
        .decode(text)
        .or_else(|_| BASE64.decode(normalize(text)))
}

/// The text in the standard alphabet on one line.
fn normalize(text: &[u8]) -> Vec<u8> {
    let standard = text.iter().filter_map(|byte| match byte {
        b'\r' | b'\n' => None,
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        other => Some(*other),
    });
    standard.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_both_alphabets_and_missing_padding_are_decoded() {
        let cases: [(&str, &[u8]); 9] = [
            ("AQIDBA==", &[1, 2, 3, 4]),
            ("AQIDBA", &[1, 2, 3, 4]),
            ("AQIDBA==\n", &[1, 2, 3, 4]),
            ("AQID\r\nBA==\r\n", &[1, 2, 3, 4]),
            ("AQI\nDBA=\n=", &[1, 2, 3, 4]),
            ("+/+/", &[0xfb, 0xff, 0xbf]),
            ("-_-_", &[0xfb, 0xff, 0xbf]),
            ("-_\n+/", &[0xfb, 0xff, 0xbf]),
            ("", &[]),
        ];
        for (text, bytes) in cases {
            assert_eq!(decode_lenient(text.as_bytes()).unwrap(), bytes, "{text:?}");
        }
    }

    #[test]
    fn other_characters_and_impossible_lengths_are_rejected() {
        for text in ["!!!", "AQID*A==", "A", "AQID BA==", "AQIDB\n"] {
            assert!(decode_lenient(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
