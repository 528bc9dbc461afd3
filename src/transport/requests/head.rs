//! Reads the head of a request by the rules of actix-http.

use std::mem::MaybeUninit;
use std::ops::Range;

use httparse::{Header, Status};
use smallvec::SmallVec;

/// Maximum number of headers of one request, as in actix-http.
const MAX_HEADERS: usize = 96;

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// The next request.
    None,
    /// A body of this many bytes, at least 1.
    Length(u64),
    /// A body in chunks.
    Chunks,
    /// Bytes of another protocol.
    Opaque,
}

/// The properties of a head that determine what follows it.
pub(super) struct Head {
    /// Its own length in bytes.
    pub(super) length: usize,
    pub(super) content: BodyFraming,
    /// Whether the connection ends with the response.
    pub(super) closes: bool,
    /// Positions of `upgrade` options of a request that does not upgrade.
    pub(super) idle_upgrades: SmallVec<[Range<usize>; 1]>,
}

/// The headers that matter here.
#[derive(Default)]
struct Fields {
    content_length: Option<u64>,
    chunked: bool,
    websocket: bool,
    close: bool,
    keep_alive: bool,
    upgrades: SmallVec<[Range<usize>; 1]>,
}

/// The head at the start of `bytes`; `None` while it is incomplete, `Err` if it is not valid.
pub(super) fn read_head(bytes: &[u8]) -> Option<Result<Head, ()>> {
    // Not initialized: clearing 3 kB for each request would cost more than parsing a short one.
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return None,
        Err(_) => return Some(Err(())),
    };
    let old = request.version == Some(0);
    let connects = request.method == Some("CONNECT");
    let fields = match Fields::read(bytes, request.headers) {
        Some(fields) if !(fields.chunked && (old || fields.content_length.is_some())) => fields,
        _ => return Some(Err(())),
    };
    let content = match fields.content_length {
        _ if fields.chunked => BodyFraming::Chunks,
        _ if fields.websocket => BodyFraming::Opaque,
        Some(length @ 1..) => BodyFraming::Length(length),
        _ if connects => BodyFraming::Opaque,
        _ => BodyFraming::None,
    };
    Some(Ok(Head {
        length,
        content,
        closes: fields.close || (old && !fields.keep_alive),
        idle_upgrades: match content {
            BodyFraming::Opaque => SmallVec::new(),
            _ => fields.upgrades,
        },
    }))
}

impl Fields {
    /// `None` if the headers contradict each other.
    fn read(bytes: &[u8], headers: &[Header<'_>]) -> Option<Self> {
        let mut fields = Self::default();
        for header in headers {
            let value = header.value;
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("connection") {
                fields.connection(bytes, value);
            } else if is("upgrade") {
                fields.websocket |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
            } else if is("content-length") {
                let length = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
                if fields.content_length.replace(length).is_some() {
                    return None;
                }
            } else if is("transfer-encoding") {
                let chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                if !chunked || std::mem::replace(&mut fields.chunked, true) {
                    return None;
                }
            }
        }
        Some(fields)
    }

    fn connection(&mut self, bytes: &[u8], value: &[u8]) {
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                let start = option.as_ptr() as usize - bytes.as_ptr() as usize;
                self.upgrades.push(start..start + option.len());
            }
        }
    }
}
