//! The doors that clients come in by.

use std::{io, net::SocketAddr, sync::Arc};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, sleep},
};
use tracing::warn;

use super::{Arrival, Front, connect, websocket};
use crate::{
    broker::{cannot_listen, seldom::Seldom},
    error::Error,
};

/// After the system refused a connection, for want of file descriptors perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer that has vanished without a word is found so, whatever keepalive it asked for.
const DEAD_PEER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(20);

pub async fn tcp(front: Arc<Front>, address: SocketAddr) -> Result<SocketAddr, Error> {
    listen(front, "--mqtt", address, |front, socket, arrival| async move {
        let (reader, writer) = socket.into_split();
        connect::serve(front, reader, writer, arrival).await;
    })
    .await
}

pub async fn websocket(front: Arc<Front>, address: SocketAddr) -> Result<SocketAddr, Error> {
    listen(front, "--mqtt-ws", address, websocket::serve_tcp).await
}

/// Accepts connections until the gateway stops, each into a task of its own.
async fn listen<F>(
    front: Arc<Front>,
    flag: &'static str,
    address: SocketAddr,
    serve: fn(Arc<Front>, TcpStream, Arrival) -> F,
) -> Result<SocketAddr, Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.map_err(|why| cannot_listen(flag, address, &why))?;
    let bound = listener.local_addr().map_err(Error::internal)?;
    let tasks = front.tasks.clone();
    let troubles = Seldom::default();
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                _ = front.stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    if let Err(why) = prepare(&socket) {
                        warn!(%peer, "cannot prepare the connection of {peer}: {why}");
                    }
                    let arrival = front.arrival(peer);
                    front.tasks.spawn(serve(front.clone(), socket, arrival));
                }
                Err(why) => {
                    if let Some(times) = troubles.again(Instant::now().into_std()) {
                        warn!(
                            times,
                            "cannot accept a connection: {why} (tried {times} times since it was last said)"
                        );
                    }
                    front.hall.make_room();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    Ok(bound)
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_EVERY).with_interval(PROBE_EVERY))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_PEER))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_peer_that_is_dead_is_noticed_soon() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_client, (socket, _)) = (client.expect("it listens"), accepted.expect("it comes"));
        prepare(&socket).expect("the system allows it");
        let socket = SockRef::from(&socket);
        assert_eq!(socket.tcp_user_timeout().expect("it is set"), Some(DEAD_PEER));
        assert!(socket.keepalive().expect("it is set") && socket.tcp_nodelay().expect("it is set"));
    }
}
