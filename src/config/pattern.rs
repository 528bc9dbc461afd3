//! Patterns for names of rooms, namespaces and events, and for origins. Pure.

use std::fmt;

use url::{Host, Url};

/// A name in which every `*` stands for any text, including none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` matches, case-sensitive. The time is linear in the length of the name for each `*`.
    pub fn matches(&self, name: &str) -> bool {
        Self::text_matches(&self.0, name)
    }

    /// As [`Pattern::matches`] for a pattern that is only text.
    pub fn text_matches(pattern: &str, name: &str) -> bool {
        let Some((head, rest)) = pattern.split_once('*') else {
            return pattern == name;
        };
        let Some(mut name) = name.strip_prefix(head) else {
            return false;
        };
        // It is enough to match every part at its first occurrence, except the last, which must end the name.
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return name.ends_with(part);
            }
            let Some(at) = name.find(part) else {
                return false;
            };
            name = name.get(at + part.len()..).unwrap_or_default();
        }
        true
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Web pages that can connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginRule {
    /// `*`: every page.
    Any,
    /// `same`: pages of the host and port of the request, which the caller compares.
    Same,
    /// One origin, such as `https://app.example.org`, in the form that browsers send.
    Exact(String),
    /// `https://*.example.org`: all subdomains, at any depth.
    Subdomains {
        /// `https://`
        scheme: String,
        /// `.example.org`, with the port if one was given.
        suffix: String,
    },
}

impl OriginRule {
    /// Whether the rule allows the `Origin` header. Always false for `Same`.
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Same => false,
            Self::Exact(exact) => origin.eq_ignore_ascii_case(exact),
            Self::Subdomains { scheme, suffix } => {
                let origin = origin.to_ascii_lowercase();
                let host = origin.strip_prefix(scheme.as_str());
                let below = host.and_then(|host| host.strip_suffix(suffix.as_str()));
                below.is_some_and(|labels| {
                    !labels.is_empty() && labels.chars().all(is_host_character)
                })
            }
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "*" => return Ok(Self::Any),
            "same" => return Ok(Self::Same),
            // Browsers send this origin for `file:` and `data:` pages and for sandboxed frames.
            "null" => return Ok(Self::Exact(text.to_owned())),
            _ => {}
        }
        let rejected = || {
            let with_scheme = || exact_origin(&format!("https://{text}"));
            let meant = match text.contains("://") {
                true => exact_origin(text.trim_end_matches('/')),
                false => with_scheme(),
            };
            let meant = meant.map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
            format!(
                "`{text}` is not `same`, `*`, or an origin such as `https://app.example.org`{meant}"
            )
        };
        let Some((scheme, host)) = text.split_once("://*.") else {
            return exact_origin(text).map(Self::Exact).ok_or_else(rejected);
        };
        let parent = exact_origin(&format!("{scheme}://{host}")).ok_or_else(rejected)?;
        let (scheme, host) = parent.split_once("://").ok_or_else(rejected)?;
        Ok(Self::Subdomains {
            scheme: format!("{scheme}://"),
            suffix: format!(".{host}"),
        })
    }
}

/// Scheme, host and port as browsers send them: no path, no default port.
fn exact_origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_bare = url.path().trim_matches('/').is_empty()
        && url.query().is_none()
        && url.fragment().is_none();
    let has_user = !url.username().is_empty() || url.password().is_some();
    let has_wildcard = text.contains('*');
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    if !is_bare || has_user || has_wildcard || !has_host {
        return None;
    }
    // App shells send origins with their own schemes, such as `capacitor://localhost`, which are opaque to `Url`.
    let host = match url.host()? {
        Host::Ipv6(address) => format!("[{address}]"),
        host => host.to_string().to_ascii_lowercase(),
    };
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    Some(format!("{}://{host}{port}", url.scheme()))
}

fn is_host_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_text() {
        let cases = [
            ("/", "/", true),
            ("/", "/a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("chat:*", "chat:", true),
            ("chat:*", "chat", false),
            ("/tenant-*/feed", "/tenant-7/feed", true),
            ("/tenant-*/feed", "/tenant-7/feeds", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
            ("é*", "éa", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                Pattern::from(pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn origin_rules_match_whole_origins() {
        let cases = [
            ("*", "https://a.example", true),
            ("same", "https://a.example", false),
            ("https://a.example", "https://a.example", true),
            ("https://A.example/", "https://a.example", true),
            ("https://a.example:443", "https://a.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example:8443", "https://a.example", false),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("null", "null", true),
            ("null", "https://null", false),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("https://*.example.org", "https://a.b.example.org", true),
            ("https://*.example.org", "https://example.org", false),
            (
                "https://*.example.org",
                "https://evil.com:80.example.org",
                false,
            ),
            (
                "https://*.example.org",
                "https://evil.com/.example.org",
                false,
            ),
            (
                "http://*.example.org:8080",
                "http://a.example.org:8080",
                true,
            ),
            ("http://*.example.org:8080", "http://a.example.org", false),
        ];
        for (rule, origin, expected) in cases {
            assert_eq!(
                OriginRule::parse(rule).unwrap().matches(origin),
                expected,
                "{rule} {origin}"
            );
        }
        for rule in [
            "",
            "example.org",
            "https://",
            "https://a.example/path",
            "https://a.*.org",
            "https://u@a.example",
        ] {
            assert!(OriginRule::parse(rule).is_err(), "{rule}");
        }
    }
}
