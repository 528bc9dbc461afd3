//! Requests to the backend for decisions that room rules leave to it (policy `backend`).

use std::rc::Rc;
use std::sync::Arc;

use awc::http::header::HeaderMap;
use futures_util::future::LocalBoxFuture;

use super::request::HookSubject;
use crate::model::NodeId;
use crate::rules::{AuthorityAnswer, AuthorityFactory, AuthorityRequest, RoomAuthority};
use crate::webhook::schema::{AuthorizeHook, HookBody};
use crate::webhook::{HookAnswer, HookFailure, HookQueue, HookRequest, WebhookClient, Webhooks};

/// The name by which routes match such requests.
const AUTHORIZE: &str = "authorize";

/// Makes the authority of each worker of `node`.
pub fn authority_factory(webhooks: Arc<Webhooks>, node: NodeId) -> AuthorityFactory {
    Arc::new(move || {
        let client = Rc::new(WebhookClient::new(Arc::clone(&webhooks)));
        Rc::new(BackendAuthority { client, node })
    })
}

/// The authority of one worker.
struct BackendAuthority {
    client: Rc<WebhookClient>,
    node: NodeId,
}

impl RoomAuthority for BackendAuthority {
    fn decide(&self, request: AuthorityRequest) -> LocalBoxFuture<'static, AuthorityAnswer> {
        let (client, node) = (Rc::clone(&self.client), self.node);
        Box::pin(async move {
            match decide(&client, node, request).await {
                Ok(()) => AuthorityAnswer::Allow,
                Err(failure) => AuthorityAnswer::Reject {
                    code: failure.code.into_owned(),
                    message: failure.message.into_owned(),
                    temporary: failure.temporary,
                    retry_after: failure.retry_after,
                },
            }
        })
    }
}

async fn decide(
    client: &WebhookClient,
    node: NodeId,
    request: AuthorityRequest,
) -> Result<(), HookFailure> {
    let target = client.node().route(&request.namespace, AUTHORIZE);
    let target = target.ok_or_else(|| HookFailure::bad_answer("no route matches `authorize`"))?;
    let subject = HookSubject {
        socket: request.socket,
        namespace: request.namespace,
        node,
        identity: request.identity,
    };
    let id = client.new_id();
    let body = HookBody::Authorize(AuthorizeHook {
        socket: subject.describe(None),
        action: request.action.name(),
        room: request.room.as_str(),
        event: request.event.as_deref(),
    });
    let request = HookRequest {
        body: subject.encode(&id, body),
        headers: HeaderMap::new(),
        lane: HookQueue::Event,
        id,
    };
    client
        .send(target, request, |body| HookAnswer::parse(body).map(drop))
        .await
}
