//! Counts which clients are connected, by what they are, not by who.

use super::state::Worker;
use crate::metrics::labels::{ClientKind, Parser};
use crate::protocol::wire_format;

impl Worker {
    /// Counts a session that begins.
    pub(super) fn count_client(&self, client: ClientKind, parser: wire_format::Parser) {
        let metrics = self.metrics();
        metrics.client_sessions.of(client).add(1);
        metrics.client_sessions_opened_total.of(client).increment();
        metrics.parser_sessions.of(label(parser)).add(1);
    }

    /// Ends the count of a session.
    pub(super) fn discount_client(&self, client: ClientKind, parser: wire_format::Parser) {
        let metrics = self.metrics();
        metrics.client_sessions.of(client).add(-1);
        metrics.parser_sessions.of(label(parser)).add(-1);
    }

    /// Counts a session whose first message has shown that its client uses another parser.
    pub(super) fn count_parser(&self, former: wire_format::Parser, parser: wire_format::Parser) {
        let sessions = &self.metrics().parser_sessions;
        sessions.of(label(former)).add(-1);
        sessions.of(label(parser)).add(1);
    }
}

fn label(parser: wire_format::Parser) -> Parser {
    match parser {
        wire_format::Parser::Json => Parser::Json,
        wire_format::Parser::Msgpack => Parser::Msgpack,
        #[cfg(test)]
        wire_format::Parser::Binary => Parser::Json,
    }
}
