//! Polling bodies of revision 3 (docs/protocol.md#110-revision-3): each packet behind its length.
//!
//! Text: `<length>:<packet>`, repeated, where the length counts UTF-16 code units, as JavaScript does. With binary
//! messages that are not base64, the body is `application/octet-stream`: for each packet a byte 0 (text) or 1 (binary),
//! the digits of the length in bytes as bytes from 0 to 9, a byte 255, and the packet. Pure.

use super::packet::{PayloadError, PayloadPacket};
use super::revision::{EngineRevision, binary_content};

/// The first byte of a text packet in a binary body.
const TEXT: u8 = 0;
/// The first byte of a binary packet in a binary body.
const BINARY: u8 = 1;
/// Ends a length in a binary body.
const LENGTH_END: u8 = 255;
/// Digits of a length. No body is so large that it needs more.
const MAX_DIGITS: usize = 10;

/// Upper bound of the bytes that precede a packet in a body.
pub(super) const MAX_HEADER: usize = MAX_DIGITS + 2;

/// Whether a body is `application/octet-stream`: in text, the first byte is a digit.
pub fn is_binary(body: &[u8]) -> bool {
    matches!(body.first(), Some(&(TEXT | BINARY)))
}

/// The packets of a body in order. Ends after the first error. An empty body is an error; an empty packet is skipped.
pub fn decode(body: &[u8]) -> PacketsV3<'_> {
    PacketsV3 {
        rest: Some(body),
        is_binary: is_binary(body),
    }
}

/// See [`decode`].
#[derive(Debug, Clone)]
pub struct PacketsV3<'a> {
    rest: Option<&'a [u8]>,
    is_binary: bool,
}

impl<'a> PacketsV3<'a> {
    /// The packets that are not decoded yet, as a separate body.
    pub fn rest(&self) -> Option<&'a [u8]> {
        self.rest
    }
}

impl<'a> Iterator for PacketsV3<'a> {
    type Item = Result<PayloadPacket<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let body = self.rest.take()?;
            let split = match self.is_binary {
                true => split_binary(body),
                false => split_text(body),
            };
            let (packet, rest) = match split {
                Ok(split) => split,
                Err(error) => return Some(Err(error)),
            };
            let rest = Some(rest).filter(|rest| !rest.is_empty());
            if packet.content.is_empty() {
                self.rest = rest;
                continue;
            }
            let packet = packet.parse();
            self.rest = rest.filter(|_| packet.is_ok());
            return Some(packet);
        }
    }
}

/// A packet without its length.
struct Framed<'a> {
    is_text: bool,
    content: &'a [u8],
}

impl<'a> Framed<'a> {
    fn parse(self) -> Result<PayloadPacket<'a>, PayloadError> {
        if self.is_text {
            return EngineRevision::V3.parse_text(std::str::from_utf8(self.content)?);
        }
        Ok(PayloadPacket::Binary(binary_content(self.content)?.into()))
    }
}

fn split_text(body: &[u8]) -> Result<(Framed<'_>, &[u8]), PayloadError> {
    let digits = body.iter().take(MAX_DIGITS + 1);
    let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
    let (length, rest) = body.split_at(digits);
    let length = number(length.iter().map(|digit| digit - b'0'))?;
    let rest = rest.strip_prefix(b":").ok_or(PayloadError::Length)?;
    let end = end_of_units(rest, length).ok_or(PayloadError::Length)?;
    let (content, rest) = rest.split_at(end);
    let is_text = true;
    Ok((Framed { is_text, content }, rest))
}

fn split_binary(body: &[u8]) -> Result<(Framed<'_>, &[u8]), PayloadError> {
    let (is_text, body) = match body.split_first() {
        Some((&TEXT, body)) => (true, body),
        Some((&BINARY, body)) => (false, body),
        _ => return Err(PayloadError::Length),
    };
    let digits = body.iter().take(MAX_DIGITS + 1);
    let digits = digits.take_while(|byte| **byte <= 9).count();
    let (length, rest) = body.split_at(digits);
    let length = number(length.iter().copied())?;
    let rest = rest
        .strip_prefix(&[LENGTH_END])
        .ok_or(PayloadError::Length)?;
    if length > rest.len() {
        return Err(PayloadError::Length);
    }
    let (content, rest) = rest.split_at(length);
    Ok((Framed { is_text, content }, rest))
}

/// The number with these decimal digits.
fn number(digits: impl ExactSizeIterator<Item = u8>) -> Result<usize, PayloadError> {
    if !(1..=MAX_DIGITS).contains(&digits.len()) {
        return Err(PayloadError::Length);
    }
    let number = digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit));
    usize::try_from(number).map_err(|_| PayloadError::Length)
}

/// Where the first `units` UTF-16 code units of a text end; `None` if it has fewer, or they end within a character.
fn end_of_units(text: &[u8], mut units: usize) -> Option<usize> {
    let mut end = 0;
    while units > 0 {
        units = units.checked_sub(units_of(*text.get(end)?))?;
        end += 1;
        while text.get(end).is_some_and(|byte| is_continuation(*byte)) {
            end += 1;
        }
    }
    Some(end)
}

/// UTF-16 code units of the character with this first byte.
fn units_of(first: u8) -> usize {
    if first >= 0xf0 { 2 } else { 1 }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// UTF-16 code units of a text in UTF-8.
fn units(text: &[u8]) -> usize {
    let characters = text.iter().filter(|byte| !is_continuation(**byte));
    characters.map(|first| units_of(*first)).sum()
}

/// The packets of a response: in text if all are, since clients that receive no binary bodies are sent none.
#[derive(Debug, Default)]
pub(super) struct Frames {
    packets: Vec<u8>,
    /// The end of each packet, and whether it is text.
    ends: Vec<(usize, bool)>,
}

impl Frames {
    /// Adds a packet, which has its type.
    pub(super) fn push(&mut self, packet: &[u8], is_text: bool) {
        self.packets.extend_from_slice(packet);
        self.ends.push((self.packets.len(), is_text));
    }

    /// Upper bound of the bytes of the body.
    pub(super) fn size(&self) -> usize {
        self.packets.len() + self.ends.len() * MAX_HEADER
    }

    pub(super) fn packets(&self) -> usize {
        self.ends.len()
    }

    /// The body.
    pub(super) fn finish(self) -> Vec<u8> {
        let all_text = self.ends.iter().all(|(_, is_text)| *is_text);
        let mut body = Vec::with_capacity(self.size());
        let mut start = 0;
        for (end, is_text) in self.ends {
            let packet = &self.packets[start..end];
            match all_text {
                true => push_text_frame(packet, &mut body),
                false => push_binary_frame(packet, is_text, &mut body),
            }
            start = end;
        }
        body
    }
}

fn push_text_frame(packet: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(units(packet).to_string().as_bytes());
    body.push(b':');
    body.extend_from_slice(packet);
}

fn push_binary_frame(packet: &[u8], is_text: bool, body: &mut Vec<u8>) {
    body.push(if is_text { TEXT } else { BINARY });
    let length = packet.len().to_string();
    body.extend(length.bytes().map(|digit| digit - b'0'));
    body.push(LENGTH_END);
    body.extend_from_slice(packet);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::{Packet, PacketError};
    use super::super::payload::PayloadWriter;
    use super::*;

    type Decoded<'a> = Vec<Result<PayloadPacket<'a>, PayloadError>>;

    fn packets(body: &[u8]) -> Decoded<'_> {
        decode(body).collect()
    }

    fn message(text: &str) -> Result<PayloadPacket<'_>, PayloadError> {
        Ok(PayloadPacket::Packet(Packet::Message(text)))
    }

    fn binary(content: &[u8]) -> Result<PayloadPacket<'_>, PayloadError> {
        Ok(PayloadPacket::Binary(content.to_vec()))
    }

    #[test]
    fn lengths_of_text_count_utf_16_code_units() {
        assert_eq!(
            packets("6:4hello2:4€3:4🚀1:210:b4AQIDBA==".as_bytes()),
            [
                message("hello"),
                message("€"),
                message("🚀"),
                Ok(PayloadPacket::Packet(Packet::Ping(""))),
                binary(&[1, 2, 3, 4]),
            ]
        );
        // Empty packets have no effect, as in the reference server.
        assert_eq!(packets(b"0:2:4a00:"), [message("a")]);
        assert_eq!(packets(b"0:"), []);
    }

    #[test]
    fn the_lengths_of_a_binary_body_count_bytes() {
        let body = b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04\x00\x04\xff4\xe2\x82\xac\x01\x00\x02\xff\x04\xff";
        assert!(is_binary(body));
        assert_eq!(
            packets(body),
            [
                message("hello"),
                binary(&[1, 2, 3, 4]),
                message("€"),
                binary(&[0xff])
            ]
        );
    }

    #[test]
    fn lengths_that_do_not_fit_end_the_body() {
        let length = || Err(PayloadError::Length);
        let cases: [(&[u8], Decoded<'_>); 16] = [
            (b"", vec![length()]),
            (b"abc", vec![length()]),
            (b":4a", vec![length()]),
            (b"2", vec![length()]),
            (b"-1:4", vec![length()]),
            (b"1e1:4aaaaaaaaa", vec![length()]),
            (b"2:4a3:4a", vec![message("a"), length()]),
            (b"99999999999999999999:4a", vec![length()]),
            (b"9999999999:4a", vec![length()]),
            // Between the halves of a surrogate pair.
            ("2:4🚀".as_bytes(), vec![length()]),
            // A payload of revision 4.
            (b"4hello\x1e4x", vec![length()]),
            (b"\x00", vec![length()]),
            (b"\x00\xff4a", vec![length()]),
            (b"\x01\x03\xff\x04\x01", vec![length()]),
            (
                b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4",
                vec![length()],
            ),
            (b"\x00\x02\xff4a\x02\x01\xff4", vec![message("a"), length()]),
        ];
        for (body, expected) in cases {
            assert_eq!(packets(body), expected, "{body:?}");
        }
    }

    #[test]
    fn packets_that_are_malformed_end_the_body() {
        let not_binary = || Err(PacketError::NotABinaryMessage.into());
        for body in [&b"2:4\xc32:4a"[..], b"\x00\x02\xff4\xc3"] {
            let read = packets(body);
            assert!(
                matches!(read[..], [Err(PayloadError::NotText(_))]),
                "{read:?}"
            );
        }
        assert_eq!(packets(b"\x01\x02\xff4a"), [not_binary()]);
        assert_eq!(packets(b"3:b2A2:4a"), [not_binary()]);
        let unknown = Err(PacketError::UnknownType('9').into());
        assert_eq!(packets(b"2:4a1:92:4b"), [message("a"), unknown]);
    }

    #[test]
    fn what_is_not_decoded_yet_is_a_body() {
        let body = "2:4a3:4🚀2:4c".as_bytes();
        let mut decoding = decode(body);
        assert_eq!(decoding.next(), Some(message("a")));
        assert_eq!(decoding.rest(), Some("3:4🚀2:4c".as_bytes()));
        let rest = packets(decoding.rest().unwrap());
        assert_eq!(rest, [message("🚀"), message("c")]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            items in prop::collection::vec((any::<bool>(), ".{0,20}", prop::collection::vec(any::<u8>(), 0..20)), 1..8)
        ) {
            let mut writer = PayloadWriter::new(EngineRevision::V3, 16, 1000);
            let mut expected = Vec::new();
            for (is_text, text, data) in &items {
                if *is_text {
                    writer.push_text(format!("4{text}").as_bytes());
                    expected.push(message(text));
                } else {
                    writer.push_binary(&[&[4], data.as_slice()].concat());
                    expected.push(binary(data));
                }
            }
            let body = writer.finish();
            prop_assert_eq!(is_binary(&body), items.iter().any(|(is_text, ..)| !is_text));
            prop_assert_eq!(packets(&body), expected);
        }

        #[test]
        fn what_is_not_decoded_yet_reads_as_it_does_in_its_body(
            items in prop::collection::vec((any::<bool>(), ".{0,9}", prop::collection::vec(any::<u8>(), 0..5)), 1..6),
            cut in 0_usize..9,
        ) {
            let mut writer = PayloadWriter::new(EngineRevision::V3, 16, 1000);
            for (is_text, text, data) in &items {
                match is_text {
                    true => writer.push_text(format!("4{text}").as_bytes()),
                    false => writer.push_binary(&[&[4], data.as_slice()].concat()),
                }
            }
            let body = writer.finish();
            let body = &body[..body.len().saturating_sub(cut)];
            let mut decoding = decode(body);
            while let Some(rest) = decoding.rest() {
                prop_assert_eq!(decoding.clone().collect::<Vec<_>>(), packets(rest));
                decoding.next();
            }
        }

        #[test]
        fn any_body_is_read_or_rejected(body in prop::collection::vec(any::<u8>(), 0..40)) {
            let read = packets(&body);
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        }

        #[test]
        fn any_text_body_is_read_or_rejected(body in "([0-9]{0,2}:?.{0,6}){0,4}") {
            let read = packets(body.as_bytes());
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
