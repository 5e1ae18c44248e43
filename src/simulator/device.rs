//! One simulated device: a board with power, a buzzer and a line to the broker.
//!
//! It boots, lives until its power is cut or it resets, and boots again, for ever.

use std::time::Duration;

use tokio::{
    task::JoinHandle,
    time::{self, Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    Fault, Pace, Voice,
    climate::Climate,
    fault::{Mishap, Mishaps},
    firmware::{Firmware, Sound},
    speech::Speech,
    wire::{News, Wire},
};
use crate::{address::Address, error::Error, model::Action};

/// One turn of the firmware's loop: far less than the shortest note.
const TICK: Duration = Duration::from_millis(50);
/// How long a device without power stays away.
const AWAY: Duration = Duration::from_secs(5);
/// Waiting for the broker begins with the first and doubles up to the last.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(200);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(5);
/// A connection that lasted this long was a good one; two clients of the same name never get so far.
pub(super) const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// A device on its own, in a task of its own. Dropped, it runs on.
#[derive(Debug)]
pub struct Device {
    task: JoinHandle<Result<(), Error>>,
    stop: CancellationToken,
}

impl Device {
    /// Switches on a device.
    pub fn start(board: Board) -> Device {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        Device { task: tokio::spawn(async move { board.run(&stopped).await }), stop }
    }

    /// Cuts the power: the connection is dropped without a DISCONNECT before this returns.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Lets the device say `offline` and DISCONNECT.
    pub async fn stop(self) -> Result<(), Error> {
        self.stop.cancel();
        self.task.await.map_err(Error::internal)?
    }
}

/// What a device is, power or not.
#[derive(Clone, Debug)]
pub struct Board {
    pub name: String,
    /// The device that it listens to.
    pub peer: String,
    /// Host and port of the broker.
    pub mqtt: (String, u16),
    pub fault: Option<Fault>,
    pub pace: Pace,
    pub voice: Voice,
}

/// How the time between boot and the next boot ends.
enum End {
    Stopped,
    PowerCut,
    /// The connection is left behind, half open.
    Reset(Wire),
}

impl Board {
    /// Without a fault, at the pace of the deployed ones.
    pub fn new(name: &str, peer: &str, mqtt: (String, u16), voice: Voice) -> Board {
        let (name, peer) = (name.to_owned(), peer.to_owned());
        Board { name, peer, mqtt, fault: None, pace: Pace::default(), voice }
    }

    /// Lives until `stop` is cancelled.
    pub(super) async fn run(self, stop: &CancellationToken) -> Result<(), Error> {
        let mut climate = Climate::around(&self.name, &self.peer);
        let mut speech = Speech::new(&self.name, self.fault);
        // Held and never looked at again, until the next one takes its place.
        let mut _half_open = None;
        loop {
            match self.powered(&mut climate, &mut speech, stop).await? {
                End::Stopped => return Ok(()),
                End::Reset(wire) => {
                    self.say("resets: connects anew, its old connection hangs")?;
                    _half_open = Some(wire);
                }
                End::PowerCut => {
                    self.say("has lost power")?;
                    if stop.run_until_cancelled(time::sleep(AWAY)).await.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// From one boot to the next.
    async fn powered(
        &self,
        climate: &mut Climate,
        speech: &mut Speech,
        stop: &CancellationToken,
    ) -> Result<End, Error> {
        let mut firmware = Firmware::new(&self.peer);
        let mut mishaps = Mishaps::new(self.fault, self.pace);
        let presence = speech.presence();
        let connect = |delay| Wire::connect(&self.mqtt, &self.name, presence.clone(), delay);
        let mut wire = connect(Duration::ZERO);
        let mut connected_at: Option<Instant> = None;
        let mut retry = FIRST_RETRY;
        let mut outage_told = false;

        let mut tick = time::interval(TICK);
        let mut measure = time::interval(self.pace.measures_every);
        for timer in [&mut tick, &mut measure] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }

        loop {
            tokio::select! {
                news = wire.next() => match news {
                    News::Connected => {
                        connected_at = Some(Instant::now());
                        outage_told = false;
                        mishaps.well();
                        wire.greet(&self.peer);
                        self.say(&format!("is online at {}{}", self.broker(), speech.accent()))?;
                    }
                    News::Message { topic, payload } => self.hear(&mut firmware, &topic, &payload)?,
                    News::Lost(why) => {
                        let broker = self.broker();
                        mishaps.lost();
                        if let Some(at) = connected_at.take() {
                            retry = if at.elapsed() < GOOD_CONNECTION { retry } else { FIRST_RETRY };
                            outage_told = true;
                            self.say(&format!("has lost {broker} ({why}); trying again"))?;
                        } else if !outage_told {
                            outage_told = true;
                            self.say(&format!("waits: {broker} does not answer ({why}); trying again"))?;
                        }
                        wire = connect(retry);
                        retry = (retry * 2).min(LAST_RETRY);
                    }
                },
                _ = tick.tick() => if let Some(sound) = firmware.tick(TICK) {
                    self.sound(&firmware, sound)?;
                },
                _ = measure.tick(), if connected_at.is_some() => {
                    let report = speech.report(&climate.measure());
                    if let Some(flaw) = report.flaw {
                        self.say(&format!("sends garbage: {}", flaw.words()))?;
                    }
                    wire.report(report);
                }
                mishap = mishaps.next() => match mishap {
                    Mishap::PowerCut => return Ok(End::PowerCut),
                    Mishap::Reset => return Ok(End::Reset(wire)),
                    Mishap::Hang { time } => {
                        self.say(&format!("hangs for {} s: measures nothing, obeys nothing", time.as_secs()))?;
                        // Nobody looks at the wire meanwhile: it stays open, and what comes waits in it.
                        if stop.run_until_cancelled(time::sleep(time)).await.is_some() {
                            self.say("goes on as if nothing had been")?;
                        }
                        mishaps.well();
                    }
                    Mishap::Drop { nth, of, away } => {
                        self.say(&format!("drops its connection, {nth} of {of}"))?;
                        connected_at = None;
                        wire = connect(away);
                    }
                },
                () = stop.cancelled() => {
                    if connected_at.is_some() {
                        wire.part().await;
                    }
                    return Ok(End::Stopped);
                }
            }
        }
    }

    fn hear(&self, firmware: &mut Firmware, topic: &str, payload: &[u8]) -> Result<(), Error> {
        let peer = &self.peer;
        match topic.parse() {
            Ok(Address::Play { device }) if device == self.name => {
                self.say(&match firmware.on_command(payload) {
                    Action::Play => format!("told to play: plays whatever {peer} measures"),
                    Action::Stop => format!("told to stop: silent whatever {peer} measures"),
                    Action::Resume => format!("told to resume: follows {peer} again"),
                })
            }
            Ok(Address::Sensor { device }) if device == *peer => {
                firmware.on_peer_reading(payload);
                Ok(())
            }
            Ok(Address::Presence { device })
                if device == *peer && payload.trim_ascii().eq_ignore_ascii_case(b"online") =>
            {
                firmware.on_peer_online();
                self.say(&format!("hears that {peer} is online: its melody starts over"))
            }
            _ => Ok(()),
        }
    }

    fn sound(&self, firmware: &Firmware, sound: Sound) -> Result<(), Error> {
        let reason = firmware.reason();
        let heard = match sound {
            Sound::Bar(bar) => {
                let notes: Vec<&str> = bar.iter().map(|note| note.name).collect();
                format!("♪ {}  ({reason})", notes.join(" "))
            }
            Sound::Silence => format!("silent  ({reason})"),
        };
        self.voice.play(&self.name, &heard)
    }

    fn say(&self, what: &str) -> Result<(), Error> {
        self.voice.say(&self.name, what)
    }

    fn broker(&self) -> String {
        let (host, port) = &self.mqtt;
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
    const DISCONNECT: [u8; 2] = [0xE0, 0];

    /// An esp32 that has said `online` to a broker, and the broker's end of the line.
    async fn connected() -> io::Result<(Device, TcpStream)> {
        let broker = TcpListener::bind("127.0.0.1:0").await?;
        let mqtt = ("127.0.0.1".to_owned(), broker.local_addr()?.port());
        let device = Device::start(Board::new("esp32", "raspberry", mqtt, Voice::Log));
        let (mut line, _) = broker.accept().await?;
        until(&mut line, b"offline").await?;
        line.write_all(&CONNACK).await?;
        until(&mut line, b"presence/esp32/status\0\x02online").await?;
        Ok((device, line))
    }

    /// Reads until `end` was said.
    async fn until(line: &mut TcpStream, end: &[u8]) -> io::Result<()> {
        let mut said = Vec::new();
        while !said.windows(end.len()).any(|window| window == end) {
            said.push(line.read_u8().await?);
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_killed_device_leaves_without_a_word() -> io::Result<()> {
        let (device, mut line) = connected().await?;

        device.kill().await;

        let mut said = Vec::new();
        line.read_to_end(&mut said).await?;
        assert!(!said.ends_with(&DISCONNECT) && !said.ends_with(b"offline"), "{said:?}");
        Ok(())
    }

    #[tokio::test]
    async fn a_stopped_device_says_offline_and_disconnects() -> io::Result<()> {
        let (device, mut line) = connected().await?;
        let stopped = tokio::spawn(device.stop());

        until(&mut line, b"offline").await?;
        until(&mut line, &DISCONNECT).await?;

        drop(line);
        assert!(matches!(stopped.await, Ok(Ok(()))));
        Ok(())
    }

    #[tokio::test]
    async fn a_device_connects_again_and_again() -> io::Result<()> {
        let broker = TcpListener::bind("127.0.0.1:0").await?;
        let mqtt = ("127.0.0.1".to_owned(), broker.local_addr()?.port());
        let device = Device::start(Board::new("esp32", "raspberry", mqtt, Voice::Log));
        for _ in 0..2 {
            let (mut line, _) = broker.accept().await?;
            line.write_all(&CONNACK).await?;
            until(&mut line, b"online").await?;
        }
        device.kill().await;
        Ok(())
    }
}
