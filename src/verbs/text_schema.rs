//! The schemas of texts in requests, for the OpenAPI document. They describe what [`bounds`](super::bounds) checks.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use super::bounds::MAX_NAME;

/// Declares a type that stands for a text in the document.
macro_rules! texts {
    ($($(#[doc = $doc:literal])+ $type:ident = $name:literal, $build:expr;)*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug)]
            pub(crate) enum $type {}

            impl PartialSchema for $type {
                fn schema() -> RefOr<Schema> {
                    let build: fn(ObjectBuilder) -> ObjectBuilder = $build;
                    let text = ObjectBuilder::new().schema_type(Type::String);
                    build(text).description(Some(concat!($($doc),+).trim())).into()
                }
            }

            impl ToSchema for $type {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed($name)
                }
            }
        )*
    };
}

texts! {
    /// Name of a room, user, session or token: 1 to 255 bytes.
    NameText = "Name", |text| text.min_length(Some(1)).max_length(Some(MAX_NAME));
    /// Name of a namespace: `/`, then anything but `,` and `?`; at most 255 bytes.
    NamespaceText = "Namespace", |text| {
        text.max_length(Some(MAX_NAME)).pattern(Some("^/[^,?]*$")).examples(["/"])
    };
    /// The beginning of a name, or a name that a list continues after; at most 255 bytes.
    NamePart = "NamePart", |text| text.max_length(Some(MAX_NAME));
    /// Id of a socket, as clients know it (`socket.id`).
    SocketIdText = "SocketId", |text| {
        text.format(Some(SchemaFormat::Custom("socket-id".to_owned())))
    };
    /// Binary data in base64.
    Base64Text = "Base64", |text| {
        text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Byte)))
    };
}
