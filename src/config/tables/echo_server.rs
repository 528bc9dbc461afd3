//! `[app.echo_server]`: the app for Laravel Echo.

use std::time::Duration;

use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{MILLISECOND, duration, flag, list, number, size, switch, text};
use crate::config::net::Secret;
use crate::config::values;
use crate::config::webhook_url::WebhookUrl;

table! {
    /// The app for Laravel Echo (`app.kind = "echo_server"`, docs/echo.md): channels of a Laravel backend, as
    /// laravel-echo-server serves them. The limits of requests to the backend are those of `[webhook]`.
    pub EchoServerConfig = "app.echo_server" {
        /// The namespace whose clients receive what the backend broadcasts. Stock clients connect to `/`.
        namespace: String = "/", text("namespace", values::single_namespace);
        /// Backends that decide who may subscribe to private and presence channels: `http[s]://host[:port][/path]`. Of
        /// several, the one whose scheme, host and port are those of the `Referer` (or else `Origin`) of the client
        /// receives the request, or else the first.
        auth_hosts: Vec<WebhookUrl> = ["http://localhost"], list(text("URL", WebhookUrl::parse)).at_least_one("backend");
        /// Path of that request, appended to the URL of the backend.
        auth_endpoint: String = "/broadcasting/auth", text("path", values::path);
        /// Time limit of that request, excluding its time in the queue.
        auth_timeout: Duration = "5s", duration(MILLISECOND..);
        /// Names of the headers that clients may choose for that request, in `auth.headers` of Echo.
        client_headers: Vec<String> = ["authorization", "x-csrf-token", "x-xsrf-token"], list(text("name", values::forwarded_header));
        /// Names of further headers, such as `origin`, that are copied from the request that opened the session, as its
        /// cookies are.
        headers: Vec<String> = [], list(text("name", values::forwarded_header));
        /// Whether the node receives what the backend broadcasts through Redis (`bus.redis_url`). `auto` = on with an app
        /// `echo_server`.
        redis: bool = "auto", switch().or_auto();
        /// What the backend puts before the names of channels in Redis: `database.redis.options.prefix` of Laravel.
        redis_prefix: String = "laravel-database-", text("name", values::channel_name);
        /// Backends that may use the HTTP routes below `/apps/`, as entries `[[app.echo_server.clients]]` of a file.
        clients: Vec<EchoClientEntry> = [], tables();
        /// Size limit of a request to these routes.
        max_body: usize = "1MiB", size(1..);
        /// Whether members of private and presence channels may send each other events (`whisper`).
        client_events: bool = true, flag();
        /// Number of users of a presence channel that a new member receives. While a channel has more, its members
        /// receive no events about users.
        max_members: u64 = 1000, number(1..=100_000);
        /// Size limit of what the backend responds about a user of a presence channel, `user_id` and `user_info`, in JSON.
        max_user_data: usize = "64KiB", size(1..);
        /// Time after which a user whose last socket has left a presence channel is reported as gone, unless the user is
        /// back, on any node.
        leave_delay: Duration = "3s", duration(Duration::ZERO..=Duration::from_secs(600));
        /// Whether clients receive an event `reconnect` when they connect. Versions of Laravel Echo before 2.1.7 subscribe
        /// to their channels again when they receive it; later ones do so by themselves.
        emit_reconnect: bool = true, flag();
    }
    derived {
        /// The URLs of auth requests: each of `auth_hosts` with `auth_endpoint`, in their order.
        auth_urls: Vec<WebhookUrl>,
        /// `socket.max_depth`, which limits the JSON of backends too.
        max_depth: usize,
    }
}

entry! {
    /// An entry of `[[app.echo_server.clients]]`.
    pub EchoClientEntry {
        /// Name of the app in the path of its routes: `/apps/APP_ID/…`.
        app_id: String = text("name", app_id);
        /// The key that the backend of the app presents.
        key: Option<Secret> = text("at least 16 characters", values::token).map(Some), secret;
    }
}

fn app_id(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || !text.chars().all(is_plain) {
        return Err(format!(
            "`{text}` must consist of letters, digits and `-._`"
        ));
    }
    Ok(text.to_owned())
}
