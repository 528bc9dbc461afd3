//! Integration tests with real nodes on real sockets, from the bytes of a client to the bus.
//!
//! One binary. Servers listen on free ports of this machine, clusters share a bus in memory; the clients
//! return packets as they are on the wire.

#![expect(unreachable_pub, reason = "a test binary exports nothing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod support;

mod acks;
mod admission;
mod announcements;
mod api;
mod api_listener;
mod api_requests;
mod api_shell;
mod architecture;
mod auth;
mod auth_keys;
mod auth_rooms;
mod broken_posts;
mod check_room;
mod client_files;
mod cluster;
mod config_process;
mod cors;
mod dependencies;
mod documents;
mod drain;
mod drain_process;
mod event_rates;
mod forward;
mod forward_process;
mod forward_websocket;
mod gates;
mod handshakes;
mod health;
mod health_verb;
mod history;
mod history_cluster;
mod history_replay;
mod http_deadlines;
mod idempotency;
mod identities;
mod inbox;
mod ingress;
mod internal;
mod limits;
mod live;
mod live_upstreams;
mod log_process;
mod log_secrets;
mod loops;
mod lost_nodes;
mod membership;
mod metrics;
mod mixed_versions;
mod namespaces;
mod newcomers;
mod notices;
mod notices_process;
mod open_webui_failures;
mod open_webui_rooms;
mod open_webui_sign_in;
mod open_webui_upstreams;
mod outage;
mod polling;
mod presence;
mod presence_process;
mod proxy_protocol;
mod python_bus;
mod redis;
mod reload_process;
mod requests;
mod revocations;
mod room_tokens;
mod rooms;
mod routes;
mod rules;
mod shutdown;
mod simulator;
mod slow_client;
mod source;
mod tls;
mod toy_dialect;
mod upgrade;
mod upstream;
mod upstream_backpressure;
mod upstream_limits;
mod user_limits;
mod user_rooms;
mod user_sessions;
mod webhook;
mod webhook_failures;
mod webhook_users;
mod websocket;
