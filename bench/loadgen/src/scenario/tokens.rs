//! Tokens of users, and the auth payloads that contain them.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::client::Endpoint;

/// The tokens in a file, one per line.
pub(crate) fn read(path: &Path) -> Result<Vec<Rc<str>>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(Rc::from).collect())
}

/// The endpoint of a client that presents this token.
pub(crate) fn endpoint(token: &str) -> Endpoint {
    Endpoint {
        auth: json!({ "token": token }).to_string().into(),
        ..Endpoint::default()
    }
}

/// The endpoints of `count` clients, each with a token of the file, if there is one, or else with this auth payload.
pub(crate) fn endpoints(
    path: Option<&Path>,
    auth: Option<&str>,
    count: usize,
) -> Result<Vec<Endpoint>> {
    let Some(path) = path else {
        let auth = auth.unwrap_or_default().into();
        let endpoint = Endpoint {
            auth,
            ..Endpoint::default()
        };
        return Ok(vec![endpoint; count]);
    };
    let tokens = read(path)?;
    let are_enough = tokens.len() >= count;
    ensure!(are_enough, "{} needs {count} tokens", path.display());
    let tokens = tokens.iter().take(count);
    Ok(tokens.map(|token| endpoint(token)).collect())
}
