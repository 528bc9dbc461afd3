//! Applies the bus events of backends to the sockets of one worker.

use std::rc::Rc;

use log::warn;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::bus_events::BusEvent;
use super::worker::WorkerApp;

/// Runs until the node is dropped.
pub(super) async fn run(worker: Rc<WorkerApp>, mut events: Receiver<BusEvent>) {
    loop {
        match events.recv().await {
            Ok(BusEvent::ChannelCreated { user }) => {
                let worker = Rc::clone(&worker);
                actix_rt::spawn(async move { worker.join_new_channels(&user).await });
            }
            Ok(BusEvent::ChatAccess { socket }) => {
                worker.sockets.borrow_mut().invalidate_chats(socket);
            }
            Ok(BusEvent::RemovedFromChat { socket, chat }) => {
                worker.sockets.borrow_mut().leave_chat(socket, &chat);
            }
            Err(RecvError::Lagged(dropped)) => {
                warn!(
                    dropped;
                    "backend event queue overflowed, clients may lack a channel until they reload"
                );
            }
            Err(RecvError::Closed) => return,
        }
    }
}
