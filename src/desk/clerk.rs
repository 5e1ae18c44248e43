//! Who sees commands through: into the command log, out to the device, and to their end.

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, Instant, timeout},
};
use tracing::{info, warn};

use super::{
    LIFE, MAX_OPEN, SENT_WITHIN,
    keys::Reserved,
    tellings::{Telling, Tellings},
};
use crate::{
    address::PLAY,
    broker::{Accept, Broker, Input, Intake, Message, Ticket},
    catalog::Topic,
    error::Error,
    model::{CommandRecord, CommandState, Delivery, Timestamp},
};

/// A command on its way.
pub(super) struct Order {
    pub(super) record: CommandRecord,
    /// How it is answered, if it is.
    pub(super) rule: Option<&'static Topic>,
    pub(super) timeout: Duration,
    pub(super) offline: bool,
    /// When its caller began to wait.
    pub(super) ordered: Instant,
    /// Until the record is written, whether the caller still waits or not.
    pub(super) reserved: Option<Reserved>,
    /// Told when the message is out, or why it never will be.
    pub(super) out: oneshot::Sender<Result<(CommandRecord, Telling), Error>>,
}

/// What the desk needs to see its orders through.
pub struct Clerk {
    orders: mpsc::Receiver<Order>,
    tellings: Tellings,
    broker: Broker,
    intake: Intake,
}

impl Clerk {
    pub(super) fn new(
        orders: mpsc::Receiver<Order>,
        tellings: Tellings,
        broker: Broker,
        intake: Intake,
    ) -> Clerk {
        Clerk { orders, tellings, broker, intake }
    }

    /// Sees every order through, until it is stopped: what is open then ends at the next start.
    pub async fn run(self) {
        let Clerk { mut orders, tellings, broker, intake } = self;
        let mut open = FuturesUnordered::new();
        let mut last = 0;
        loop {
            tokio::select! {
                order = orders.recv(), if open.len() < MAX_OPEN => match order {
                    Some(order) => {
                        last += 1;
                        open.push(see_through(order, Ticket(last), &tellings, &broker, &intake));
                    }
                    None => break,
                },
                Some(()) = open.next() => {}
            }
        }
    }
}

/// One command's course. It ends early when it is refused, or the journal cannot be written before the message goes out.
async fn see_through(order: Order, ticket: Ticket, tellings: &Tellings, broker: &Broker, intake: &Intake) {
    let Order { record, rule, timeout: patience, offline, ordered, reserved, out } = order;
    let mut record = match intake.accept(Accept { ticket, record, rule, offline }).await {
        Ok(record) => record,
        Err(why) => {
            // The caller may have gone.
            let _ = out.send(Err(why));
            return;
        }
    };
    // Followed first: who comes next with its key finds somebody to follow.
    let mut telling = tellings.begin(&record);
    drop(reserved);
    if ordered.elapsed() > SENT_WITHIN {
        warn!(command = %record.id, "command {}, {}, expired: the journal is behind", record.id, record.target);
        intake.send(Input::Lapsed { ticket, at: Timestamp::now() });
        return;
    }
    // What comes behind this in the queue may be its answer, what stands before it cannot.
    let receivers = broker.receivers(&record.topic);
    intake.send(Input::Announced { ticket, receivers, at: Timestamp::now() });
    broker.publish(Message {
        topic: record.topic.clone(),
        payload: Bytes::copy_from_slice(record.payload.as_bytes()),
        qos: PLAY.qos,
        retain: PLAY.retain,
        command: Some(record.id),
        life: patience,
    });
    info!(
        command = %record.id, topic = record.topic, receivers,
        "sent {}: {receivers} listen", record.target
    );
    record.state = CommandState::Published;
    record.delivery = Some(if receivers == 0 { Delivery::NoSubscriber } else { Delivery::Sent });
    let mine = tellings.begin(&record);
    // The caller may have gone.
    let _ = out.send(Ok((record, mine)));
    if timeout(patience, telling.until(|record| record.state.is_final())).await.is_err() {
        intake.send(Input::Lapsed { ticket, at: Timestamp::now() });
        // Until that is history, whoever asks again follows it too.
        let _ = timeout(LIFE, telling.until(|record| record.state.is_final())).await;
    }
}
