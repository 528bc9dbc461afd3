//! Negotiates permessage-deflate (RFC 7692 section 7.1) from the `Sec-WebSocket-Extensions` headers of a client.
//!
//! Both sides compress without context takeover. The server has one encoding of a message for all clients, so it accepts
//! no smaller window than the largest. Offers that it cannot accept are declined, as malformed headers are: the
//! connection opens without compression.

/// Whether a client and this server compress messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiation {
    /// The client offered no compression.
    NotOffered,
    /// The client offered nothing that the server accepts.
    Declined,
    /// Both compress.
    Accepted(Agreement),
}

/// An accepted offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// Whether the client limits the window of the server, which must be confirmed.
    names_window: bool,
}

impl Agreement {
    /// The value of `Sec-WebSocket-Extensions` in the response.
    pub fn response(self) -> &'static str {
        match self.names_window {
            false => "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            true => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
            }
        }
    }
}

const NAME: &str = "permessage-deflate";
/// The window of this server, in bits.
const WINDOW_BITS: u8 = 15;

/// Chooses the first acceptable offer of the values of all `Sec-WebSocket-Extensions` headers.
pub fn negotiate<'a>(headers: impl IntoIterator<Item = &'a str>) -> Negotiation {
    let mut offered = false;
    for header in headers {
        let mut rest = Scanner(header);
        loop {
            let Some((is_deflate, agreement)) = offer(&mut rest) else {
                // The grammar is violated: where the next offer begins is unknown.
                offered |= header.contains(NAME);
                break;
            };
            offered |= is_deflate;
            if let Some(agreement) = agreement {
                return Negotiation::Accepted(agreement);
            }
            if !rest.take(',') {
                break;
            }
        }
    }
    match offered {
        true => Negotiation::Declined,
        false => Negotiation::NotOffered,
    }
}

/// Reads an offer: whether it is one of permessage-deflate, and what it leads to if it is acceptable.
fn offer(rest: &mut Scanner<'_>) -> Option<(bool, Option<Agreement>)> {
    let is_deflate = rest.token()? == NAME;
    let mut seen = Seen::default();
    let mut acceptable = is_deflate;
    while rest.take(';') {
        let name = rest.token()?;
        let value = match rest.take('=') {
            true => Some(rest.value()?),
            false => None,
        };
        acceptable &= seen.add(name, value.as_deref());
    }
    rest.at_end_of_offer().then_some(())?;
    let agreement = Agreement {
        names_window: seen.server_window,
    };
    Some((is_deflate, acceptable.then_some(agreement)))
}

/// The parameters of an offer so far.
#[derive(Default)]
struct Seen {
    server_context: bool,
    client_context: bool,
    server_window: bool,
    client_window: bool,
}

impl Seen {
    /// Adds a parameter; returns whether the offer is still acceptable.
    fn add(&mut self, name: &str, value: Option<&str>) -> bool {
        let bits = value.and_then(window_bits);
        let (seen, fits) = match name {
            "server_no_context_takeover" => (&mut self.server_context, value.is_none()),
            "client_no_context_takeover" => (&mut self.client_context, value.is_none()),
            "server_max_window_bits" => (&mut self.server_window, bits == Some(WINDOW_BITS)),
            // Any window of the client will do. Without a value the client only supports the parameter.
            "client_max_window_bits" => {
                (&mut self.client_window, value.is_none() || bits.is_some())
            }
            _ => return false,
        };
        !std::mem::replace(seen, true) && fits
    }
}

/// A window in bits: 8 to 15, without leading zeros (RFC 7692 section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    let digits = !value.starts_with('0') && value.bytes().all(|byte| byte.is_ascii_digit());
    let bits = value.parse().ok().filter(|_| digits);
    bits.filter(|bits| (8..=WINDOW_BITS).contains(bits))
}

/// Whether the character may be part of a token (RFC 9110 section 5.6.2).
pub fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// What has not been read of a header.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Reads a separator, if it is the next character.
    fn take(&mut self, separator: char) -> bool {
        self.skip_spaces();
        let rest = self.0.strip_prefix(separator);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Option<&'a str> {
        self.skip_spaces();
        let end = self.0.find(|c| !is_token_char(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The value of a parameter: a token, or a quoted string that is one (RFC 6455 section 9.1).
    fn value(&mut self) -> Option<String> {
        if !self.take('"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        let mut rest = self.0.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => value.push(rest.next()?),
                c => value.push(c),
            }
        }
        self.0 = rest.as_str();
        Some(value)
    }

    fn at_end_of_offer(&mut self) -> bool {
        self.skip_spaces();
        self.0.is_empty() || self.0.starts_with(',')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    const WINDOW: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

    #[test]
    fn offers_of_stock_clients_are_accepted() {
        for (offer, response) in [
            // Chromium, `ws` and aiohttp.
            ("permessage-deflate; client_max_window_bits", PLAIN),
            // Firefox, Safari and OkHttp.
            ("permessage-deflate", PLAIN),
            // Gorilla.
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                PLAIN,
            ),
            // Starscream.
            (
                "permessage-deflate; client_max_window_bits; server_max_window_bits=15",
                WINDOW,
            ),
            // Old Safari.
            ("x-webkit-deflate-frame, permessage-deflate", PLAIN),
        ] {
            let Negotiation::Accepted(agreement) = negotiate([offer]) else {
                panic!("{offer}");
            };
            assert_eq!(agreement.response(), response, "{offer}");
        }
    }

    #[test]
    fn an_offer_that_is_wrong_or_not_supported_is_declined_and_the_next_one_counts() {
        let parameters = [
            "server_max_window_bits",
            "server_max_window_bits=8",
            "server_max_window_bits=14",
            "server_max_window_bits=16",
            "server_max_window_bits=7",
            "server_max_window_bits=015",
            "server_max_window_bits=+15",
            "server_max_window_bits=\"\"",
            "server_max_window_bits=15; server_max_window_bits=15",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=08",
            "client_max_window_bits=abc",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits=10; client_max_window_bits=10",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "Server_no_context_takeover",
            "unknown",
            "unknown=\"a,b;c\\\"\"",
        ];
        for parameter in parameters {
            let offer = format!("permessage-deflate; {parameter}");
            assert_eq!(negotiate([&*offer]), Negotiation::Declined, "{offer}");
            let accepted = Negotiation::Accepted(Agreement {
                names_window: false,
            });
            let two = format!("{offer} ,permessage-deflate");
            assert_eq!(negotiate([&*two]), accepted, "{two}");
            assert_eq!(negotiate([&*offer, "permessage-deflate"]), accepted);
        }
    }

    #[test]
    fn windows_and_spaces_may_be_written_in_any_valid_way() {
        for (offer, names_window) in [
            ("permessage-deflate;client_max_window_bits=8", false),
            (
                "permessage-deflate ;\tclient_max_window_bits = \"9\"",
                false,
            ),
            ("permessage-deflate; server_max_window_bits=\"15\"", true),
            ("permessage-deflate; server_max_window_bits=\"1\\5\"", true),
        ] {
            let accepted = Negotiation::Accepted(Agreement { names_window });
            assert_eq!(negotiate([offer]), accepted, "{offer}");
        }
    }

    #[test]
    fn malformed_headers_are_declined_and_other_extensions_are_no_offer() {
        for (header, expected) in [
            ("", Negotiation::NotOffered),
            ("x-webkit-deflate-frame", Negotiation::NotOffered),
            ("permessage-bzip2; a=1, other", Negotiation::NotOffered),
            ("Permessage-Deflate", Negotiation::NotOffered),
            ("permessage-deflate;", Negotiation::Declined),
            (
                "permessage-deflate; client_max_window_bits=",
                Negotiation::Declined,
            ),
            ("permessage-deflate; a=\"unclosed", Negotiation::Declined),
            (
                "permessage-deflate client_max_window_bits",
                Negotiation::Declined,
            ),
            (",permessage-deflate", Negotiation::Declined),
            ("a;;b, permessage-deflate", Negotiation::Declined),
        ] {
            assert_eq!(negotiate([header]), expected, "{header}");
        }
    }
}
