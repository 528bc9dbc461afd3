//! The socket tier of Open WebUI, stock or Roomwire: what sockets cost that are signed
//! in and joined, and what a stream of tokens to many of them costs.

mod gather;
mod joined;
mod stream;

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub(crate) use joined::run as joined;
pub(crate) use stream::run as stream;

use crate::client::Door;
use crate::procstat::Usage;

/// Where Open WebUI has its sockets.
const PATH: &str = "/ws/socket.io/";

/// Session tokens of users.
struct Tokens {
    /// Used by no measured socket.
    warm_up: Vec<Rc<str>>,
    measured: Vec<Rc<str>>,
}

impl Tokens {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut warm_up: Vec<Rc<str>> = text.lines().map(Rc::from).collect();
        ensure!(warm_up.len() > 1, "{} needs two tokens", path.display());
        let measured = warm_up.split_off(1);
        Ok(Self { warm_up, measured })
    }
}

fn door(token: &str) -> Door {
    Door {
        path: PATH.into(),
        auth: json!({ "token": token }).to_string().into(),
    }
}

/// Seconds and CPU seconds by group, as they are: what is to be taken off is for the reader.
fn raw(usage: &Usage) -> Value {
    json!({
        "seconds": usage.wall.as_secs_f64(),
        "cpu_s": usage.cpu.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    })
}
