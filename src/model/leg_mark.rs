//! The mark of a leg: a header by which a cluster knows a connection that it opened itself.
//!
//! Without it an upstream URL that leads back to the cluster, as a balancer's does, makes each leg open another one.

use std::fmt;

use super::NodeId;

/// The header that carries the mark.
pub const LEG_HEADER: &str = "x-roomwire-leg";

/// Which node of which cluster opened a leg: `<cluster>/<node>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegMark(String);

impl LegMark {
    /// The mark of a node; `cluster` is the prefix of its channels.
    pub fn new(cluster: &str, node: NodeId) -> Self {
        let mut mark = String::with_capacity(cluster.len() + 5);
        for byte in cluster.bytes() {
            // What a header cannot hold, and what has a meaning here.
            if byte.is_ascii_graphic() && !b"/%".contains(&byte) {
                mark.push(char::from(byte));
            } else {
                mark.push_str(&format!("%{byte:02x}"));
            }
        }
        mark.push('/');
        mark.push_str(node.as_str());
        Self(mark)
    }

    /// Whether a header's value is the mark of a node of the same cluster.
    pub fn is_kin(&self, value: &[u8]) -> bool {
        let cluster = |mark: &[u8]| mark.iter().position(|byte| *byte == b'/');
        let own = self.0.as_bytes();
        cluster(own).is_some_and(|end| cluster(value) == Some(end) && value[..end] == own[..end])
    }
}

impl fmt::Display for LegMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_a_cluster_are_kin() {
        let node = |name: &str| NodeId::parse(name).unwrap();
        let mark = LegMark::new("two words:0", node("aaaa"));
        assert_eq!(mark.to_string(), "two%20words:0/aaaa");
        let cases = [
            (LegMark::new("two words:0", node("bbbb")), true),
            (LegMark::new("two words:1", node("aaaa")), false),
            (LegMark::new("two words", node("aaaa")), false),
        ];
        for (other, expected) in cases {
            assert_eq!(
                mark.is_kin(other.to_string().as_bytes()),
                expected,
                "{other}"
            );
        }
        for nonsense in ["", "/", "two%20words:0"] {
            assert!(!mark.is_kin(nonsense.as_bytes()), "{nonsense}");
        }
    }
}
