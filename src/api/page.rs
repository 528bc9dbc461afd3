//! The page to read and try the API: Swagger UI, part of the binary, which loads nothing from elsewhere.

use std::sync::{Arc, OnceLock};

use actix_web::HttpResponse;
use actix_web::http::header;
use utoipa_swagger_ui::Config;

/// The page styles its elements one by one; scripts are files.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    connect-src 'self'; img-src 'self' data:; font-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const HTML: &str = "text/html";
/// The title of the page as Swagger UI has it, and ours.
const UI_TITLE: &str = "<title>Swagger UI</title>";
const TITLE: &str = "<title>Roomwire HTTP API</title>";

fn settings() -> Arc<Config<'static>> {
    static SETTINGS: OnceLock<Arc<Config<'static>>> = OnceLock::new();
    let settings = SETTINGS.get_or_init(|| {
        // Relative: the document comes from the listener that served the page.
        let config = Config::new(["../openapi.json"])
            .use_base_layout()
            .try_it_out_enabled(true)
            .validator_url("none")
            .default_models_expand_depth(0);
        Arc::new(config)
    });
    Arc::clone(settings)
}

/// Leads to the page. Its files are relative to a path with a slash at the end.
pub(super) fn redirect() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((header::LOCATION, "docs/"))
        .finish()
}

/// A file of the page; the page itself for the empty path.
pub(super) fn file(path: &str) -> HttpResponse {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(path, settings()) else {
        return HttpResponse::NotFound()
            .content_type("text/plain; charset=utf-8")
            .body("The page has no such file.\n");
    };
    let is_page = file.content_type == HTML;
    let mut response = HttpResponse::Ok();
    response
        .content_type(file.content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    if file.gzpipped {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    match std::str::from_utf8(&file.bytes) {
        Ok(page) if is_page => response.body(page.replace(UI_TITLE, TITLE)),
        _ => response.body(file.bytes.into_owned()),
    }
}
