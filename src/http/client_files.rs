//! The stock client files, from an installed `socket.io-client/dist` (`server.client_dir`).
//!
//! Served below the endpoint as the reference server does, with an ETag. Nothing of the client is part of Roomwire.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use actix_web::http::header::{self, EntityTag, Header, IfNoneMatch};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use crate::transport::origin::CorsHeaders;

/// A file of the client.
#[derive(Debug)]
struct ClientFile {
    content: Bytes,
    etag: EntityTag,
}

/// The files by name, read once at start.
#[derive(Debug, Default)]
pub struct ClientFiles {
    files: Option<HashMap<String, ClientFile>>,
}

impl ClientFiles {
    /// Reads the scripts of the folder. Without a folder, the response to every request names the key to set.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn load(folder: Option<&Path>) -> io::Result<Self> {
        let Some(folder) = folder else {
            return Ok(Self::default());
        };
        let mut files = HashMap::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_client_file(&name) {
                let content = Bytes::from(std::fs::read(entry.path())?);
                let mut hasher = DefaultHasher::new();
                content.hash(&mut hasher);
                let tag = format!("{:x}-{:016x}", content.len(), hasher.finish());
                let etag = EntityTag::new_strong(tag);
                files.insert(name, ClientFile { content, etag });
            }
        }
        Ok(Self { files: Some(files) })
    }

    /// Whether the stock client is available to pages.
    pub fn has_client(&self) -> bool {
        self.files
            .as_ref()
            .is_some_and(|files| files.contains_key("socket.io.min.js"))
    }

    /// Responds to a request for `name`, for which [`is_client_file`] holds. With `cors`, pages of other origins may
    /// read the response.
    pub fn serve(&self, name: &str, request: &HttpRequest, cors: &CorsHeaders) -> HttpResponse {
        let Some(files) = &self.files else {
            let how = "The stock client files are not served: set server.client_dir (ROOMWIRE_SERVER__CLIENT_DIR) \
                       to the dist folder of an installed socket.io-client.\n";
            return response(HttpResponse::NotFound(), cors)
                .content_type("text/plain; charset=utf-8")
                .body(how);
        };
        let Some(file) = files.get(name) else {
            return response(HttpResponse::NotFound(), cors)
                .body(format!("{name} is not in server.client_dir\n"));
        };
        let is_known = file.is_known_to(request);
        let mut response = if is_known {
            response(HttpResponse::NotModified(), cors)
        } else {
            response(HttpResponse::Ok(), cors)
        };
        response
            .insert_header((header::ETAG, file.etag.to_string()))
            .insert_header((header::CACHE_CONTROL, "public, max-age=0"));
        if is_known {
            return response.finish();
        }
        let content_type = if name.ends_with(".map") {
            "application/json"
        } else {
            "application/javascript; charset=utf-8"
        };
        response
            .content_type(content_type)
            .body(file.content.clone())
    }
}

impl ClientFile {
    /// Whether the client has the current version of the file in its cache (RFC 9110, 13.1.2).
    fn is_known_to(&self, request: &HttpRequest) -> bool {
        if !request.headers().contains_key(header::IF_NONE_MATCH) {
            return false;
        }
        match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&self.etag)),
            Err(_) => false,
        }
    }
}

/// The response depends on the origin, so caches need `Vary`.
fn response(mut response: HttpResponseBuilder, cors: &CorsHeaders) -> HttpResponseBuilder {
    response.insert_header((header::VARY, "Origin"));
    for (name, value) in cors {
        response.insert_header((*name, value.as_str()));
    }
    response
}

/// Whether a name below the endpoint is one of the client's: `socket.io*.js` and their maps.
pub fn is_client_file(name: &str) -> bool {
    let script = name.strip_suffix(".map").unwrap_or(name);
    let ends_as_script = script.ends_with(".js");
    script.starts_with("socket.io") && ends_as_script && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_of_the_client_are_served() {
        for name in [
            "socket.io.js",
            "socket.io.min.js",
            "socket.io.esm.min.js.map",
            "socket.io.msgpack.min.js",
        ] {
            assert!(is_client_file(name), "{name}");
        }
        for name in [
            "",
            "index.html",
            "socket.io",
            "../socket.io.js",
            "socket.io/../x.js",
            "other.js",
        ] {
            assert!(!is_client_file(name), "{name}");
        }
    }
}
