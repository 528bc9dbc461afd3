//! The socket tier of Open WebUI, stock or Roomwire: the cost of sockets that are signed
//! in and joined, and of a stream of tokens to many of them.

mod joined;
mod sign_in;
mod stream;

use std::path::Path;
use std::rc::Rc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

pub(crate) use joined::run as joined;
pub(crate) use stream::run as stream;

use crate::client::Endpoint;
use crate::procstat::Usage;
use crate::scenario::tokens;

/// The path of Open WebUI's sockets.
const PATH: &str = "/ws/socket.io/";

/// Session tokens of users.
struct Tokens {
    /// Not used by measured sockets.
    warm_up: Vec<Rc<str>>,
    measured: Vec<Rc<str>>,
}

impl Tokens {
    fn read(path: &Path) -> Result<Self> {
        let mut warm_up = tokens::read(path)?;
        ensure!(warm_up.len() > 1, "{} needs two tokens", path.display());
        let measured = warm_up.split_off(1);
        Ok(Self { warm_up, measured })
    }
}

fn endpoint(token: &str) -> Endpoint {
    Endpoint {
        path: PATH.into(),
        ..tokens::endpoint(token)
    }
}

/// Seconds, and CPU seconds by group, without any subtraction.
fn raw(usage: &Usage) -> Value {
    json!({
        "seconds": usage.wall.as_secs_f64(),
        "cpu_s": usage.cpu.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    })
}
