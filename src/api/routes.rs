//! The routes below `/api/v1/`, and the steps of every request.

use std::sync::Arc;
use std::time::SystemTime;

use actix_web::error::PayloadError;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;

use super::audit;
use super::batch::{check_batch, run_batch};
use super::check::{CheckedRequest, check};
use super::error::{ApiCode, ApiError};
use super::execute::{execute, wait_for_capacity};
use super::idempotency::{self, Claimed};
use super::keys::HeldKey;
use super::openapi;
use super::page;
use super::paths::PREFIX;
use super::state::{Api, ApiSlot};
use crate::clock;
use crate::health::Phase;
use crate::metrics::labels::ApiResult;
use crate::transport::post_body::{BodyError, read};
use crate::verbs::{VERBS, VerbRequest};

const JSON: &str = "application/json";
const BATCH: &str = "batch";

/// Responds to a request for a path of the API.
pub async fn serve(
    slot: &ApiSlot,
    request: HttpRequest,
    body: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
) -> HttpResponse {
    let path = request.path().strip_prefix(PREFIX).unwrap_or_default();
    let path = path.trim_start_matches('/');
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        match path {
            "openapi.json" => return HttpResponse::Ok().content_type(JSON).body(openapi::json()),
            "docs" => return page::redirect(),
            _ => {}
        }
        if let Some(file) = path.strip_prefix("docs/") {
            return page::file(file);
        }
    }
    let Some(api) = slot.get() else {
        let error = ApiError::new(ApiCode::Starting, "the node is starting");
        return error.response();
    };
    let started = clock::now();
    let response = respond(api, path, &request, body).await;
    let metrics = &api.metrics;
    let result = result_of(response.status());
    metrics.api_requests_total.of(result).increment();
    let took = clock::now().saturating_duration_since(started);
    metrics.api_request_seconds.observe(took);
    response
}

fn result_of(status: StatusCode) -> ApiResult {
    match status.as_u16() {
        200..300 => ApiResult::Executed,
        401 => ApiResult::Unauthorized,
        403 => ApiResult::Forbidden,
        429 => ApiResult::RateLimited,
        500.. => ApiResult::Unavailable,
        _ => ApiResult::Rejected,
    }
}

async fn respond(
    api: &Arc<Api>,
    verb: &str,
    request: &HttpRequest,
    body: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
) -> HttpResponse {
    let accepted = match accept(api, verb, request) {
        Ok(key) => read_body(api, request, body).await.map(|body| (key, body)),
        Err(error) => Err(error),
    };
    let (key, body) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return error.response(),
    };
    let work = Work {
        api: Arc::clone(api),
        key,
        verb: verb.to_owned(),
        body,
    };
    match request.headers().get("idempotency-key") {
        Some(header) => once(work, Bytes::copy_from_slice(header.as_bytes())).await,
        None if verb == BATCH => detached(work.run()).await,
        None => work.run().await,
    }
    .response()
}

/// Everything that can be checked before the body is read.
fn accept(api: &Api, verb: &str, request: &HttpRequest) -> Result<Arc<HeldKey>, ApiError> {
    if api.health.phase() == Phase::Draining {
        let message = "the node is draining and will stop: use another one";
        return Err(ApiError::new(ApiCode::Draining, message));
    }
    let keys = api.keys.read();
    let key = keys.authenticate(request.headers(), SystemTime::now())?;
    key.admit(clock::now())?;
    if verb != BATCH {
        if !VERBS.contains(&verb) {
            return Err(unknown(verb));
        }
        key.check_verb(verb)?;
    }
    if request.method() != Method::POST {
        let message = format!("`{verb}` is requested by POST");
        return Err(ApiError::new(ApiCode::MethodNotAllowed, message));
    }
    Ok(key)
}

fn unknown(verb: &str) -> ApiError {
    match VerbRequest::parse(verb, b"{}") {
        Err(error) => error.into(),
        Ok(_) => ApiError::new(ApiCode::NotFound, "there is no such verb"),
    }
}

async fn read_body(
    api: &Api,
    request: &HttpRequest,
    body: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
) -> Result<Bytes, ApiError> {
    let limit = api.settings.max_body;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    let too_large = || {
        let message = format!("the body has more than {limit} bytes (api.max_body)");
        ApiError::new(ApiCode::BodyTooLarge, message)
    };
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large());
    }
    let mut held = api.limits.begin_body();
    let body = read(body, limit, &mut held).await;
    body.map_err(|error| match error {
        BodyError::TooLarge => too_large(),
        BodyError::Limited(limit) => ApiError::new(ApiCode::Busy, limit.message()),
        BodyError::BrokeOff => {
            let message = "the body did not arrive completely";
            ApiError::new(ApiCode::BodyIncomplete, message)
        }
    })
}

/// A request that was read.
struct Work {
    api: Arc<Api>,
    key: Arc<HeldKey>,
    verb: String,
    body: Bytes,
}

/// A response before it is converted to HTTP.
struct ApiReply {
    result: Result<(StatusCode, Bytes), ApiError>,
    /// Whether this is the stored answer to an earlier request.
    replayed: bool,
}

impl ApiReply {
    fn response(self) -> HttpResponse {
        match self.result {
            Ok((status, body)) => {
                let mut response = HttpResponse::build(status);
                response.content_type(JSON);
                if self.replayed {
                    response.insert_header(("Idempotency-Replayed", "true"));
                }
                response.body(body)
            }
            Err(error) => error.response(),
        }
    }
}

impl From<Result<(StatusCode, Bytes), ApiError>> for ApiReply {
    fn from(result: Result<(StatusCode, Bytes), ApiError>) -> Self {
        Self {
            result,
            replayed: false,
        }
    }
}

impl Work {
    async fn run(self) -> ApiReply {
        self.execute().await.into()
    }

    async fn execute(&self) -> Result<(StatusCode, Bytes), ApiError> {
        let Self {
            api,
            key,
            verb,
            body,
        } = self;
        wait_for_capacity(api).await?;
        if verb == BATCH {
            let items = check_batch(api, key, body)?;
            return Ok(encoded(&run_batch(api, key, items).await?));
        }
        let request = VerbRequest::parse(verb, body)?;
        let checked: CheckedRequest = check(api, key, &request)?;
        audit::record(api, key, verb, &checked);
        Ok(encoded(&execute(api, key, checked).await?))
    }
}

fn encoded(answer: &impl Serialize) -> (StatusCode, Bytes) {
    match serde_json::to_vec(answer) {
        Ok(body) => (StatusCode::OK, Bytes::from(body)),
        // Answers consist of texts, numbers and lists.
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
    }
}

/// Executes a request unless it was executed before.
async fn once(work: Work, header: Bytes) -> ApiReply {
    let claimed = {
        let request = (work.verb.as_str(), &work.body[..]);
        idempotency::claim(&work.api, &work.key, &header, request).await
    };
    match claimed {
        Err(error) => Err(error).into(),
        Ok(Claimed::Before(status, body)) => ApiReply {
            result: Ok((status, body)),
            replayed: true,
        },
        Ok(Claimed::First(claim)) => {
            detached(async move {
                let result = work.execute().await;
                let (status, body) = match &result {
                    Ok((status, body)) => (*status, body.clone()),
                    Err(error) => encoded_error(error),
                };
                idempotency::settle(&work.api, claim, status, &body).await;
                result.into()
            })
            .await
        }
    }
}

fn encoded_error(error: &ApiError) -> (StatusCode, Bytes) {
    (error.status, encoded(&error.answer()).1)
}

/// Runs to the end even if the client disconnects meanwhile.
async fn detached(work: impl Future<Output = ApiReply> + 'static) -> ApiReply {
    match actix_rt::spawn(work).await {
        Ok(reply) => reply,
        Err(_) => Err(ApiError::new(ApiCode::Busy, "the request was interrupted")).into(),
    }
}
