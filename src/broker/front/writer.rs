//! The bytes on their way to one client.

use bytes::BytesMut;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::Duration,
};

use super::codec::{self, Packet, Version};

/// A client that takes its last packet no sooner goes without: the gateway may be waiting to stop.
const FAREWELL: Duration = Duration::from_secs(1);

/// A socket to write to, and what is not written yet.
pub struct Writer<W> {
    socket: W,
    pub output: BytesMut,
    unflushed: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub fn new(socket: W) -> Writer<W> {
        Writer { socket, output: BytesMut::new(), unflushed: false }
    }

    pub fn send(&mut self, packet: &Packet, version: Version) {
        codec::encode(packet, version, &mut self.output);
    }

    /// Whether there is something that [`Writer::write`] would do.
    pub fn has_output(&self) -> bool {
        self.unflushed || !self.output.is_empty()
    }

    /// Writes some of the output. Cancelling loses nothing.
    pub async fn write(&mut self) -> std::io::Result<()> {
        if !self.output.is_empty() {
            self.unflushed = true;
            if self.socket.write_buf(&mut self.output).await? == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
        }
        self.socket.flush().await?;
        self.unflushed = false;
        Ok(())
    }

    /// Writes a last packet, if the client still takes it, and closes.
    pub async fn finish(&mut self, packet: &Packet, version: Version) {
        self.send(packet, version);
        let all = async {
            while self.has_output() {
                self.write().await?;
            }
            self.socket.shutdown().await
        };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}
