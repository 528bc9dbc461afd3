//! The mark of an upstream connection: a header by which a cluster recognizes connections that it opened itself.
//!
//! Without it, if an upstream URL led back to the cluster, for example through a load balancer, each upstream
//! connection would open another one.

use std::fmt;

use super::NodeId;

/// The header that carries the mark.
pub const VIA_HEADER: &str = "x-roomwire-via";

/// Which node of which cluster opened an upstream connection: `<cluster>/<node>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViaMark(String);

impl ViaMark {
    /// The mark of a node; `cluster` is the prefix of its channels.
    pub fn new(cluster: &str, node: NodeId) -> Self {
        let mut mark = String::with_capacity(cluster.len() + 5);
        for byte in cluster.bytes() {
            // Escapes bytes that a header cannot hold, and those with a meaning in the mark.
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

    /// Whether the value of a header is the mark of a node of this cluster.
    pub fn is_same_cluster(&self, value: &[u8]) -> bool {
        let cluster = |mark: &[u8]| mark.iter().position(|byte| *byte == b'/');
        let own = self.0.as_bytes();
        cluster(own).is_some_and(|end| cluster(value) == Some(end) && value[..end] == own[..end])
    }
}

impl fmt::Display for ViaMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_matches_every_node_of_its_cluster_and_no_other() {
        let node = |name: &str| NodeId::parse(name).unwrap();
        let mark = ViaMark::new("two words:0", node("aaaa"));
        assert_eq!(mark.to_string(), "two%20words:0/aaaa");
        let cases = [
            (ViaMark::new("two words:0", node("bbbb")), true),
            (ViaMark::new("two words:1", node("aaaa")), false),
            (ViaMark::new("two words", node("aaaa")), false),
        ];
        for (other, expected) in cases {
            assert_eq!(
                mark.is_same_cluster(other.to_string().as_bytes()),
                expected,
                "{other}"
            );
        }
        for invalid in ["", "/", "two%20words:0"] {
            assert!(!mark.is_same_cluster(invalid.as_bytes()), "{invalid}");
        }
    }
}
