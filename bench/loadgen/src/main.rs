//! `loadgen`: drives a Socket.IO server with the relay app (`roomwire:join`, `:leave`,
//! `:emit`), its HTTP API, or the socket tier of Open WebUI, over loopback and prints its
//! result as one line of JSON. This file selects the scenario; `bench/run` decides which runs are
//! compared.

mod client;
mod fleet;
mod http_client;
mod kind;
mod options;
mod pace;
mod peer;
mod procstat;
mod scenario;
mod source;
mod watchdog;

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use options::{Options, Scenario};

fn main() -> Result<()> {
    let options: Options = argh::from_env();
    let report = run(&options.scenario)?;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn run(scenario: &Scenario) -> Result<Value> {
    match scenario {
        Scenario::Fanout(options) => scenario::fanout::run(options),
        Scenario::Ack(options) => scenario::ack::run(options),
        Scenario::Connects(options) => scenario::hold::connects(options),
        Scenario::Idle(options) => scenario::hold::idle(options),
        Scenario::Emit(options) => scenario::emit::run(options),
        Scenario::Webhook(options) => scenario::webhook::run(options),
        Scenario::Churn(options) => scenario::churn::run(options),
        Scenario::Verify(options) => scenario::verify::run(options),
        Scenario::Joined(options) => scenario::open_webui::joined(options),
        Scenario::Stream(options) => scenario::open_webui::stream(options),
    }
}
