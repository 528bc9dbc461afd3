//! Notices about the sockets of a node that is lost.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use super::intake::{Intake, NoticeEvent, NoticeEventKind};
use super::sender::Delivery;
use crate::config::NoticeKind;
use crate::model::{Namespace, SocketId};

/// Reports sockets of lost nodes, after which nobody waits for the return of their users.
#[derive(Clone)]
pub struct LostNotices {
    pub(super) intake: Arc<Intake>,
    pub(super) delivery: Rc<Delivery>,
}

impl LostNotices {
    /// Queues the notice `disconnected` of a socket, if such notices are sent.
    pub fn disconnected(
        &self,
        socket: SocketId,
        namespace: &Namespace,
        user: Option<&str>,
        reason: &'static str,
    ) {
        if !self.intake.includes(NoticeKind::Disconnected) {
            return;
        }
        let event = NoticeEvent {
            at: SystemTime::now(),
            namespace: namespace.clone(),
            socket,
            user: user.map(Arc::from),
            change: NoticeEventKind::Disconnected(reason),
            is_in_doubt: false,
        };
        let backlog = &self.delivery.backlog;
        let json = backlog.encoder().notice_event(&event);
        backlog.push(json, event.at);
    }

    /// Makes dead letters of the oldest notices while more than the limit waits.
    pub async fn shed(&self) {
        self.delivery.shed().await;
    }
}
