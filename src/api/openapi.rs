//! The OpenAPI 3.1 document of the API, generated from the types of requests and answers.

use std::sync::OnceLock;

use bytes::Bytes;
use utoipa::ToSchema;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Content, ContentBuilder, Header, InfoBuilder, LicenseBuilder, ObjectBuilder,
    OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required, Schema, Type,
};

use super::answers::{
    BatchAnswer, CallAnswer, DoneAnswer, EmitAnswer, HistoryAnswer, InfoAnswer, MembersAnswer,
    RevokeAnswer, RoomsAnswer, SocketsAnswer, UsersAnswer,
};
use super::error::ErrorAnswer;
use super::examples;
use super::paths::PREFIX;
use crate::verbs::{
    BatchRequest, CallRequest, CloseRoomRequest, DisconnectRequest, EmitRequest,
    ForceReconnectRequest, HistoryRequest, InfoRequest, JoinRequest, LeaveRequest, MembersRequest,
    RevokeRequest, RoomsRequest, SocketsRequest, UsersRequest,
};
use crate::webhook::HookAnswer;
use crate::webhook::schema::HookMessage;

const JSON: &str = "application/json";
const BEARER: &str = "bearer";
const HEADER: &str = "header";

/// Rejections that any verb can respond with.
const ERRORS: &[(&str, &str)] = &[
    (
        "400",
        "The body is not a request of this verb; for a batch, the error names the item.",
    ),
    ("401", "The key is missing, unknown or expired."),
    ("403", "The key does not allow the verb or a room."),
    ("404", "There is no such verb, or the room has no log."),
    (
        "409",
        "The first request with this `Idempotency-Key` is still running.",
    ),
    ("413", "The body is larger than `api.max_body`."),
    (
        "422",
        "Another request was sent with this `Idempotency-Key`.",
    ),
    ("429", "The key sends too many requests; see `Retry-After`."),
    (
        "503",
        "The node is starting, draining or busy, or cannot reach the store; see `Retry-After`.",
    ),
];
/// What the verbs are about, in the order of the page.
const TAGS: &[(&str, &str)] = &[
    ("events", "Send events to clients"),
    ("rooms", "Change who is in which room"),
    ("connections", "End connections and revoke tokens"),
    ("reads", "Find out who is connected"),
];

/// Statuses of rejections that end by themselves.
const RETRIED: &[&str] = &["409", "429", "503"];

/// Collects operations and the schemas that they refer to.
#[derive(Default)]
struct DocumentBuilder {
    paths: PathsBuilder,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl DocumentBuilder {
    /// Adds a verb with its request and answer.
    fn verb<Q: ToSchema, A: ToSchema>(mut self, verb: &str, tag: &str, summary: &str) -> Self {
        self.add::<Q>();
        self.add::<A>();
        let content = ContentBuilder::new()
            .schema(Some(reference::<Q>()))
            .example(examples::request(verb));
        let body = RequestBodyBuilder::new()
            .content(JSON, content.build())
            .required(Some(Required::True));
        let mut operation = OperationBuilder::new()
            .operation_id(Some(verb))
            .tag(tag)
            .summary(Some(summary))
            .parameter(idempotency_key())
            .request_body(Some(body.build()))
            .response(
                "200",
                answer::<A>("The request was executed.")
                    .header("Idempotency-Replayed", replayed())
                    .build(),
            );
        for (status, description) in ERRORS {
            let mut rejection = rejection(status, description);
            if RETRIED.contains(status) {
                rejection = rejection.header("Retry-After", retry_after());
            }
            operation = operation.response(*status, rejection.build());
        }
        let item = PathItem::new(HttpMethod::Post, operation);
        self.paths = self.paths.path(format!("{PREFIX}/{verb}"), item);
        self
    }

    fn add<T: ToSchema>(&mut self) {
        T::schemas(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), T::schema()));
    }
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

fn answer<T: ToSchema>(description: &str) -> ResponseBuilder {
    ResponseBuilder::new()
        .description(description)
        .content(JSON, Content::new(Some(reference::<T>())))
}

fn rejection(status: &str, description: &str) -> ResponseBuilder {
    let content = ContentBuilder::new()
        .schema(Some(reference::<ErrorAnswer>()))
        .example(examples::rejection(status));
    ResponseBuilder::new()
        .description(description)
        .content(JSON, content.build())
}

fn replayed() -> Header {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["true"]));
    let description =
        "This is the stored answer to an earlier request with the same `Idempotency-Key`.";
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(description))
        .build()
}

fn retry_after() -> Header {
    let schema = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1));
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some("Seconds after which to try again."))
        .build()
}

fn idempotency_key() -> ParameterBuilder {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Executes the request once, however often it is sent with the same value.",
        ))
        .schema(Some(schema))
}

/// The document.
pub fn document() -> OpenApi {
    let document = changes(DocumentBuilder::default());
    let mut document = reads(document);
    document.add::<ErrorAnswer>();
    let webhooks = webhooks(&mut document);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key of the API. One of the two headers is enough."))
        .build();
    let header = ApiKeyValue::with_description("X-API-Key", "The same key in another header.");
    let header = ApiKey::Header(header);
    let components = document
        .schemas
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| {
            components.schema(name, schema)
        })
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .security_scheme(HEADER, SecurityScheme::ApiKey(header));
    let none: [&str; 0] = [];
    let info = InfoBuilder::new()
        .title("Roomwire")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Emit to Socket.IO clients, wait for their acks, and manage their rooms and connections, from any backend. \
             Every request concerns the clients of all nodes, whichever node receives it.",
        ))
        .license(Some(
            LicenseBuilder::new().name("MIT OR Apache-2.0").build(),
        ));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(document.paths.build())
        .webhooks(Some(webhooks))
        .components(Some(components.build()))
        .tags(Some(TAGS.iter().map(|(name, description)| {
            let tag = TagBuilder::new().name(*name);
            tag.description(Some(*description)).build()
        })))
        .security(Some([
            SecurityRequirement::new(BEARER, none),
            SecurityRequirement::new(HEADER, none),
        ]))
        .build()
}

/// The requests that nodes send to backends.
fn webhooks(document: &mut DocumentBuilder) -> PathsBuilder {
    document.add::<HookMessage<'_>>();
    document.add::<HookAnswer<'_>>();
    let examples = examples::webhooks().map(|(kind, message)| {
        let example = ExampleBuilder::new().value(Some(message));
        (kind, example.build())
    });
    let content = ContentBuilder::new()
        .schema(Some(reference::<HookMessage<'_>>()))
        .examples_from_iter(examples);
    let body = RequestBodyBuilder::new()
        .content(JSON, content.build())
        .required(Some(Required::True));
    let answer = ContentBuilder::new()
        .schema(Some(reference::<HookAnswer<'_>>()))
        .example(Some(examples::webhook_answer()));
    let answer = ResponseBuilder::new()
        .description("The request is accepted.")
        .content(JSON, answer.build());
    let operation = OperationBuilder::new()
        .operation_id(Some("webhook"))
        .tag("webhooks")
        .summary(Some(
            "What a node sends to a backend, and how the backend decides",
        ))
        // Signed instead, by the headers of Standard Webhooks.
        .securities(Some([]))
        .request_body(Some(body.build()))
        .response("200", answer.build());
    let item = PathItem::new(HttpMethod::Post, operation);
    PathsBuilder::new().path("webhook", item)
}

fn changes(document: DocumentBuilder) -> DocumentBuilder {
    document
        .verb::<EmitRequest<'_>, EmitAnswer>("emit", "events", "Send an event")
        .verb::<CallRequest<'_>, CallAnswer>("call", "events", "Send an event and wait for acks")
        .verb::<BatchRequest<'_>, BatchAnswer>(
            "batch",
            "events",
            "Execute several requests in order",
        )
        .verb::<JoinRequest<'_>, DoneAnswer>("join", "rooms", "Put sockets into rooms")
        .verb::<LeaveRequest<'_>, DoneAnswer>("leave", "rooms", "Take sockets out of rooms")
        .verb::<CloseRoomRequest<'_>, DoneAnswer>(
            "close_room",
            "rooms",
            "Take every member out of a room",
        )
        .verb::<DisconnectRequest<'_>, DoneAnswer>(
            "disconnect",
            "connections",
            "Disconnect sockets",
        )
        .verb::<ForceReconnectRequest<'_>, DoneAnswer>(
            "force_reconnect",
            "connections",
            "Make clients reconnect and authenticate again",
        )
        .verb::<RevokeRequest<'_>, RevokeAnswer>(
            "revoke",
            "connections",
            "Revoke a token, the tokens of a user or a session",
        )
}

fn reads(document: DocumentBuilder) -> DocumentBuilder {
    document
        .verb::<SocketsRequest<'_>, SocketsAnswer>("sockets", "reads", "List sockets")
        .verb::<RoomsRequest<'_>, RoomsAnswer>("rooms", "reads", "List rooms")
        .verb::<UsersRequest<'_>, UsersAnswer>(
            "users",
            "reads",
            "List users who are online, or look up users",
        )
        .verb::<MembersRequest<'_>, MembersAnswer>("members", "reads", "List the members of a room")
        .verb::<HistoryRequest<'_>, HistoryAnswer>(
            "history",
            "reads",
            "Read the events of a room that has a log",
        )
        .verb::<InfoRequest, InfoAnswer>("info", "reads", "Describe the nodes of the cluster")
}

/// The document as JSON.
pub(super) fn json() -> Bytes {
    static JSON: OnceLock<Bytes> = OnceLock::new();
    let json = JSON.get_or_init(|| {
        let text = document().to_pretty_json();
        // The document consists of texts, numbers and lists.
        Bytes::from(text.unwrap_or_default())
    });
    json.clone()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::verbs::VERBS;

    /// Every `$ref` in a document.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    found.insert(target.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_describes_every_verb_and_all_that_it_refers_to() {
        let document: Value = serde_json::from_slice(&json()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap();
        for verb in VERBS.iter().chain(&["batch"]) {
            let operation = &paths[&format!("/api/v1/{verb}")]["post"];
            assert_eq!(operation["operationId"], *verb);
        }
        assert_eq!(paths.len(), VERBS.len() + 1);
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
        let webhook = &document["webhooks"]["webhook"]["post"]["requestBody"];
        let message = &webhook["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(message, "#/components/schemas/HookMessage");
        let emit = &document["components"]["schemas"]["EmitRequest"];
        assert_eq!(emit["additionalProperties"], false);
        assert_eq!(emit["required"], serde_json::json!(["event"]));
    }
}
