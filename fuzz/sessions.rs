//! A broker whose history is forgotten as soon as it is told, and clients on streams in memory.

use std::time::Duration;

use crosslink::{
    broker::{self, Broker, Input, Inputs},
    config::Config,
};
use tokio::{
    io::{AsyncWriteExt, copy, duplex, sink, split},
    join,
    task::JoinSet,
    time::timeout,
};

/// Bytes on the way between a client and the broker: fewer than a session may write at a time.
const PIPE: usize = 16 * 1024;
/// A session ends with its client. Sooner than the fuzzer would take the input for one that hangs.
const END: Duration = Duration::from_secs(8);

#[derive(Clone)]
pub struct Sessions(Broker);

impl Sessions {
    pub fn open() -> Sessions {
        let (intake, inputs) = broker::intake();
        let broker = Broker::open(&Config::default(), Vec::new(), Vec::new(), intake);
        tokio::spawn(forget(inputs));
        Sessions(broker.expect("the router starts"))
    }

    /// Clients that write this, all at once, and close. Returns when their sessions have ended.
    pub async fn serve(&self, clients: Vec<Vec<u8>>) {
        let mut sessions = JoinSet::new();
        for (client, bytes) in (1..).zip(clients) {
            let (near, far) = duplex(PIPE);
            let broker = self.0.clone();
            sessions.spawn(async move { broker.serve_stream(far, ([127, 0, 0, 1], client).into()).await });
            sessions.spawn(async move {
                let (mut reads, mut writes) = split(near);
                let (mut nowhere, writing) = (sink(), async {
                    // The broker may have closed already.
                    let _ = writes.write_all(&bytes).await;
                    let _ = writes.shutdown().await;
                });
                let _ = join!(copy(&mut reads, &mut nowhere), writing);
            });
        }
        let all = async { while sessions.join_next().await.is_some_and(|ended| ended.is_ok()) {} };
        assert!(timeout(END, all).await.is_ok() && sessions.is_empty(), "a session outlives its client");
    }
}

async fn forget(mut inputs: Inputs) {
    let mut taken = Vec::new();
    while inputs.take(&mut taken, 1_000).await {
        inputs.release(&taken);
        for input in taken.drain(..) {
            match input {
                Input::Publish(inbound) => inbound.ack.map(|ack| ack.settle()),
                Input::Keep { ack, .. } => ack.map(|ack| ack.settle()),
                _ => None,
            };
        }
    }
}
