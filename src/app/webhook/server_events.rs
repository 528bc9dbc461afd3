//! Events of foreign servers for the servers of the cluster, which a backend receives and can acknowledge.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crate::model::{NodeId, ServerSideEvent, ServerSideEventHandler};
use crate::webhook::schema::{HookBody, HookMessage, ServerEventHook};
use crate::webhook::{HookAnswer, HookFailure, HookQueue, HookRequest, WebhookClient, Webhooks};

/// The name by which routes select these requests.
const SERVER_EVENT: &str = "server_event";
/// The answer if no backend provides one.
const NO_ANSWER: &str = "null";

/// Sends the events to the backends, as requests of `node`.
pub(super) fn handler(webhooks: Arc<Webhooks>, node: NodeId) -> ServerSideEventHandler {
    let client = OnceCell::new();
    Rc::new(move |event| {
        // Lives on the thread of the bridge.
        let new_client = || Rc::new(WebhookClient::new(Arc::clone(&webhooks)));
        let client = Rc::clone(client.get_or_init(new_client));
        Box::pin(async move {
            let answer = answer(&client, node, &event).await;
            answer.unwrap_or_else(|| NO_ANSWER.to_owned())
        })
    })
}

/// The first argument of the ack that the backend responds with; `None` without one, which the client has logged.
async fn answer(client: &WebhookClient, node: NodeId, event: &ServerSideEvent) -> Option<String> {
    let route = client.node().route(&event.namespace, SERVER_EVENT);
    let target = Arc::clone(route?);
    let name = event.payload.event_name()?;
    let arguments = event.payload.skip_elements(1);
    let id = client.new_id();
    let message = HookMessage {
        id: &id,
        timestamp: &humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        node: node.as_str(),
        body: HookBody::ServerEvent(ServerEventHook {
            namespace: &event.namespace,
            event: &name,
            args: serde_json::from_str(arguments.json()).ok()?,
            ack: event.expects_answer,
        }),
    };
    let request = HookRequest {
        body: serde_json::to_vec(&message).ok()?.into(),
        headers: Default::default(),
        lane: HookQueue::Event,
        id,
    };
    let answer = client.send(&target, request, first_argument).await;
    answer.ok().flatten()
}

fn first_argument(body: &[u8]) -> Result<Option<String>, HookFailure> {
    if body.is_empty() {
        return Ok(None);
    }
    let answer = HookAnswer::parse(body)?;
    let arguments: Vec<Box<serde_json::value::RawValue>> = match answer.ack {
        Some(ack) => serde_json::from_str(ack.get()).unwrap_or_default(),
        None => Vec::new(),
    };
    Ok(arguments.first().map(|argument| argument.get().to_owned()))
}
