//! The verb `history`: events of a room that has a log.

use base64::Engine as _;
use serde_json::value::RawValue;

use super::answers::{Answer, HistoryAnswer, HistoryEvent};
use super::error::{ApiCode, ApiError};
use super::state::Api;
use crate::history::{LogName, LogPage, Logged, RoomLogs};
use crate::model::base64::BASE64;
use crate::model::{Emit, Epoch, Payload, Position};
use crate::store::StoreError;
use crate::verbs::{HistoryFilter, HistoryRange};

/// Number of events that are read from the log at once.
const PAGE: usize = 100;
/// Bytes of payloads after which an answer ends before its limit.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Reads a part of the log.
pub(super) async fn history(api: &Api, filter: HistoryFilter) -> Result<Answer, ApiError> {
    let logged = api.ingress.history().filter(|history| {
        let rooms = history.rooms();
        rooms.contains(&filter.namespace, &filter.room)
    });
    let Some(history) = logged else {
        let message = format!("`{}` has no log ([[history.rooms]])", filter.room);
        return Err(ApiError::new(ApiCode::NoLog, message));
    };
    let log = LogName::of_room(filter.namespace, filter.room);
    let limit = filter.limit as usize;
    let read = match filter.range {
        HistoryRange::After(position) => after(&**history.logs(), &log, position, limit).await,
        HistoryRange::Before(position) => before(&**history.logs(), &log, position, limit).await,
    };
    let answer =
        read.map_err(|error| ApiError::new(ApiCode::StoreUnavailable, error.to_string()))?;
    Ok(Answer::History(answer))
}

async fn after(
    logs: &dyn RoomLogs,
    log: &LogName,
    position: Position,
    limit: usize,
) -> Result<HistoryAnswer, StoreError> {
    let mut answer = HistoryAnswer::default();
    let (mut n, mut epoch, mut size) = (position.n, position.epoch, 0);
    loop {
        let wanted = PAGE.min(limit - answer.events.len());
        let page = logs.read(log, n, None, wanted).await?;
        let Some(current) = page.epoch else {
            // Nothing was logged since the logs were lost.
            answer.trimmed = true;
            return Ok(answer);
        };
        if current != epoch {
            // All that is left of the log follows a position of an earlier epoch.
            (epoch, n, answer.trimmed) = (current, 0, true);
            continue;
        }
        answer.trimmed |= page.trimmed && n > 0;
        let is_complete = page.events.len() < wanted;
        for event in page.events {
            n = event.n;
            size += event.emit.payload.size();
            answer.events.extend(shown(current, &event));
        }
        if is_complete || answer.events.len() >= limit || size >= ANSWER_BYTES {
            let next = Position { epoch, n };
            answer.next = (!is_complete).then(|| next.to_string());
            return Ok(answer);
        }
    }
}

async fn before(
    logs: &dyn RoomLogs,
    log: &LogName,
    position: Option<Position>,
    limit: usize,
) -> Result<HistoryAnswer, StoreError> {
    let mut answer = HistoryAnswer::default();
    let (mut n, mut size) = (position.map(|position| position.n), 0);
    loop {
        let wanted = PAGE.min(limit - answer.events.len());
        let page: LogPage = logs.read_back(log, n, wanted).await?;
        let Some(epoch) = page.epoch else {
            break;
        };
        if position.is_some_and(|position| position.epoch != epoch) {
            // Nothing is left of what was before it.
            answer.trimmed = true;
            break;
        }
        let is_complete = page.events.len() < wanted;
        answer.trimmed |= page.trimmed;
        for event in page.events {
            n = Some(event.n);
            size += event.emit.payload.size();
            answer.events.extend(shown(epoch, &event));
        }
        if is_complete || answer.events.len() >= limit || size >= ANSWER_BYTES {
            let next = n.map(|n| Position { epoch, n }.to_string());
            answer.next = next.filter(|_| !is_complete);
            break;
        }
    }
    answer.events.reverse();
    Ok(answer)
}

fn shown(epoch: Epoch, event: &Logged<Emit>) -> Option<HistoryEvent> {
    let Logged { n, emit, .. } = event;
    let payload: &Payload = &emit.payload;
    let args: Vec<&str> = payload.elements().skip(1).collect();
    let attachments = payload.attachments().iter();
    Some(HistoryEvent {
        offset: Position { epoch, n: *n }.to_string(),
        event: payload.event_name()?.into_owned(),
        // The parser of the session or of the API has read them.
        args: RawValue::from_string(format!("[{}]", args.join(","))).ok()?,
        attachments: attachments
            .map(|attachment| BASE64.encode(attachment))
            .collect(),
    })
}
