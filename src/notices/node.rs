//! The notices of a node: started with it, and flushed when it stops.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use log::warn;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::backlog::NoticeBacklog;
use super::dead_letters::DeadLetters;
use super::debounce::Debounce;
use super::intake::Intake;
use super::lost::LostNotices;
use super::occupancy::Occupancy;
use super::receiver::NoticeReceiver;
use super::sender::{Delivery, log_rest};
use crate::broker::Directory;
use crate::clock::now;
use crate::config::NoticesConfig;
use crate::metrics::Metrics;
use crate::model::Random;
use crate::store::{MemoryStore, Store, Tenure};
use crate::webhook::WebhookClient;

/// What notices need from their node.
pub struct NoticeParts {
    pub directory: Arc<Directory>,
    /// The client of the thread on which the notices are started.
    pub client: WebhookClient,
    /// The store that the cluster shares; `None` on a single node.
    pub store: Option<Arc<dyn Store>>,
    /// `bus.channel_prefix`
    pub prefix: String,
    pub metrics: Arc<Metrics>,
    pub random: Arc<dyn Random>,
    /// Whether this node still holds its name, if other nodes may report its disconnects.
    pub tenure: Option<Arc<Tenure>>,
}

/// The notices of a running node. Lives on the thread that started it.
pub struct Notices {
    intake: Arc<Intake>,
    backlog: Rc<NoticeBacklog>,
    occupancy: Option<Rc<Occupancy>>,
    lost: LostNotices,
    sender: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

impl Notices {
    /// Starts to accept and send notices; `None` if none are configured. Must run inside an actix system.
    pub fn start(config: &NoticesConfig, parts: NoticeParts) -> Option<Self> {
        let url = config.url.clone()?;
        let NoticeParts {
            directory,
            client,
            store,
            prefix,
            metrics,
            random,
            tenure,
        } = parts;
        let (intake, messages) = Intake::new(config.clone(), Arc::clone(&metrics), tenure);
        let node = directory.node();
        let backlog = Rc::new(NoticeBacklog::new(config.clone(), node, metrics, random));
        let dead_letters = store.clone().filter(|_| config.dead_letters > 0);
        let dead_letters =
            dead_letters.map(|store| DeadLetters::new(store, &prefix, config.dead_letters));
        let delivery = Rc::new(Delivery {
            backlog: Rc::clone(&backlog),
            client,
            url,
            dead_letters,
        });
        let receiver = NoticeReceiver {
            intake: Arc::clone(&intake),
            messages,
            debounce: Debounce::new(config.debounce),
            delivery: Rc::clone(&delivery),
            in_doubt: VecDeque::new(),
        };
        let lost = LostNotices {
            intake: Arc::clone(&intake),
            delivery: Rc::clone(&delivery),
        };
        let occupancy = intake.counts_members().then(|| {
            let store = store.unwrap_or_else(|| Arc::new(MemoryStore::default()));
            let (intake, backlog) = (Arc::clone(&intake), Rc::clone(&backlog));
            Rc::new(Occupancy::new(intake, backlog, directory, store, prefix))
        });
        let mut others = vec![actix_rt::spawn(receiver.run())];
        if let Some(occupancy) = occupancy.clone() {
            others.push(actix_rt::spawn(async move {
                tokio::join!(occupancy.run(), occupancy.watch_nodes());
            }));
        }
        Some(Self {
            intake,
            backlog,
            occupancy,
            lost,
            sender: actix_rt::spawn(async move { delivery.run().await }),
            others,
        })
    }

    /// Accepts what happens on the workers of the node.
    pub fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// Reports sockets of lost nodes.
    pub fn lost(&self) -> LostNotices {
        self.lost.clone()
    }

    /// Sends what waits, for at most `webhook.notices.flush_timeout`; the rest become dead letters. Called after the
    /// last session of the node has ended, and before its workers and its bus end.
    pub async fn stop(self) {
        let time = self.backlog.config.flush_timeout;
        let deadline = now() + time;
        self.intake.flush().await;
        if let Some(occupancy) = &self.occupancy
            && timeout(time, occupancy.settle()).await.is_err()
        {
            warn!("rooms of this node may be occupied: other nodes did not respond in time");
        }
        for task in self.others {
            task.abort();
        }
        self.backlog.stop(deadline);
        // It ends after its last attempt.
        let _ = self.sender.await;
        log_rest(&self.backlog);
    }
}
