//! Disconnects of the sockets of a node that is lost, announced by another one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::disconnects::deliver;
use super::socket::DISCONNECT;
use crate::clock::now;
use crate::config::WebhookAppConfig;
use crate::model::{Namespace, NodeId, SocketId};
use crate::webhook::schema::{DisconnectHook, HookBody, HookMessage, HookSocket};
use crate::webhook::{HookQueue, HookRequest, WebhookClient, Webhooks, disconnect_id};

/// Sends the disconnects of sockets that other nodes had. Lives on one thread.
pub struct LostDisconnects {
    client: WebhookClient,
    disconnect_timeout: Duration,
    node: NodeId,
}

impl LostDisconnects {
    /// Sends the requests of `node` to these backends. Must run inside an actix system.
    pub fn new(webhooks: Arc<Webhooks>, settings: &WebhookAppConfig, node: NodeId) -> Self {
        Self {
            client: WebhookClient::new(webhooks),
            disconnect_timeout: settings.disconnect_timeout,
            node,
        }
    }

    /// Reports a disconnect to the backend of the namespace, if there is one. Completes when the backend has received it, or
    /// after `app.webhook.disconnect_timeout`.
    ///
    /// The claims of the user, the session data and the headers are lost with the node.
    pub async fn send(
        &self,
        socket: SocketId,
        namespace: &Namespace,
        user: Option<&str>,
        reason: &str,
    ) {
        let Some(target) = self.client.node().route(namespace, DISCONNECT).cloned() else {
            return;
        };
        let id = disconnect_id("msg_", socket);
        let message = HookMessage {
            id: &id,
            timestamp: &humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            node: self.node.as_str(),
            body: HookBody::Disconnect(DisconnectHook {
                socket: HookSocket {
                    socket: socket.as_str(),
                    namespace,
                    user,
                    claims: None,
                    session: None,
                },
                reason,
            }),
        };
        // Encoding into memory does not fail: all keys are strings.
        let body: bytes::Bytes = serde_json::to_vec(&message).unwrap_or_default().into();
        let request = || HookRequest {
            id: id.clone(),
            body: body.clone(),
            headers: Default::default(),
            lane: HookQueue::Notice,
        };
        let deadline = now() + self.disconnect_timeout;
        deliver(&self.client, &target, request, deadline).await;
    }
}
