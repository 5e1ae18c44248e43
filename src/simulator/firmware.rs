//! What runs on a device: whether it plays, and where in its melody it is.
//!
//! A pure state machine, and all of it lives in RAM: a reboot is a new [`Firmware`].

use std::time::Duration;

use serde::Deserialize;

use super::{
    climate::THRESHOLD,
    melody::{Bar, Position},
};
use crate::model::Action;

/// The RAM of a device.
#[derive(Clone, Debug)]
pub(super) struct Firmware {
    peer: String,
    /// The last command. `Resume` follows the peer.
    told: Action,
    heard: Option<PeerReading>,
    /// Where in the melody it is, while it plays.
    position: Option<Position>,
}

/// What a device needs to know of its peer's reading.
#[derive(Clone, Debug, Deserialize)]
struct PeerReading {
    temperature: Option<f64>,
    threshold: Option<f64>,
    over_threshold: Option<bool>,
}

/// A change in what is heard from the buzzer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    /// A bar of the melody begins.
    Bar(&'static Bar),
    Silence,
}

impl Firmware {
    /// Boots, and follows the peer.
    pub(super) fn new(peer: &str) -> Firmware {
        Firmware { peer: peer.to_owned(), told: Action::Resume, heard: None, position: None }
    }

    /// What the firmware makes of a message on its command topic; text that is none stops it.
    pub(super) fn on_command(&mut self, payload: &[u8]) -> Action {
        self.told = Action::of_payload(&String::from_utf8_lossy(payload));
        self.told
    }

    /// A reading that says nothing about the threshold is passed over.
    pub(super) fn on_peer_reading(&mut self, payload: &[u8]) {
        if let Ok(reading) = serde_json::from_slice::<PeerReading>(payload)
            && reading.over().is_some()
        {
            self.heard = Some(reading);
        }
    }

    /// Starts the melody over, so that the pair plays together.
    pub(super) fn on_peer_online(&mut self) {
        self.position = self.position.map(|_| Position::default());
    }

    /// Time goes by. A change is told once.
    pub(super) fn tick(&mut self, elapsed: Duration) -> Option<Sound> {
        if !self.wants_to_play() {
            return self.position.take().map(|_| Sound::Silence);
        }
        match &mut self.position {
            Some(position) => position.advance(elapsed).then(|| Sound::Bar(position.bar())),
            silent @ None => Some(Sound::Bar(silent.insert(Position::default()).bar())),
        }
    }

    /// Why it plays or not.
    pub(super) fn reason(&self) -> String {
        let peer = &self.peer;
        match (self.told, &self.heard) {
            (Action::Play, _) => "told to play".to_owned(),
            (Action::Stop, _) => "told to stop".to_owned(),
            (Action::Resume, None) => format!("{peer} has not measured yet"),
            (Action::Resume, Some(reading)) => {
                let side = if self.wants_to_play() { "over" } else { "under" };
                let threshold = reading.threshold.unwrap_or(THRESHOLD);
                match reading.temperature {
                    Some(temperature) => {
                        format!("{peer} measures {temperature:.2} °C, {side} {threshold:.2}")
                    }
                    None => format!("{peer} says it is {side} its threshold"),
                }
            }
        }
    }

    fn wants_to_play(&self) -> bool {
        match self.told {
            Action::Play => true,
            Action::Stop => false,
            Action::Resume => self.heard.as_ref().and_then(PeerReading::over).unwrap_or(false),
        }
    }
}

impl PeerReading {
    /// The peer's own word counts; else the temperature, from the threshold on.
    fn over(&self) -> Option<bool> {
        self.over_threshold.or_else(|| Some(self.temperature? >= self.threshold.unwrap_or(THRESHOLD)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::melody::Note;

    const MOMENT: Duration = Duration::from_millis(50);

    fn booted() -> Firmware {
        Firmware::new("raspberry")
    }

    fn note(firmware: &Firmware) -> Option<Note> {
        firmware.position.map(|position| position.note())
    }

    fn plays(firmware: &mut Firmware) -> bool {
        firmware.tick(MOMENT);
        note(firmware).is_some()
    }

    fn plays_after(reading: &str) -> bool {
        let mut firmware = booted();
        firmware.on_peer_reading(reading.as_bytes());
        plays(&mut firmware)
    }

    #[test]
    fn it_is_silent_until_the_peer_has_measured() {
        assert!(!plays(&mut booted()));
    }

    #[test]
    fn it_plays_from_the_threshold_on() {
        assert!(plays_after(r#"{"temperature":29,"humidity":40,"threshold":29.0}"#));
        assert!(!plays_after(r#"{"temperature":28.99,"humidity":40,"threshold":29}"#));
        assert!(plays_after(r#"{"temperature":20,"threshold":20.0}"#));
    }

    #[test]
    fn the_threshold_is_29_unless_the_peer_says_otherwise() {
        assert!(plays_after(r#"{"temperature":29.0}"#));
        assert!(!plays_after(r#"{"temperature":28.9}"#));
    }

    #[test]
    fn the_peers_own_word_counts_more_than_its_temperature() {
        assert!(plays_after(r#"{"temperature":10,"threshold":29,"over_threshold":true}"#));
        assert!(!plays_after(r#"{"temperature":40,"threshold":29,"over_threshold":false}"#));
        assert!(plays_after(r#"{"temperature":40,"over_threshold":null}"#));
    }

    #[test]
    fn a_reading_that_says_nothing_leaves_all_as_it_was() {
        let mut firmware = booted();
        firmware.on_peer_reading(br#"{"temperature":30}"#);
        for nothing in ["", "warm", "{}", "[]", r#"{"temperature":"30"}"#, r#"{"humidity":40}"#] {
            firmware.on_peer_reading(nothing.as_bytes());
            assert!(plays(&mut firmware), "{nothing}");
        }
    }

    #[test]
    fn commands_override_the_peer_until_resume() {
        let mut firmware = booted();
        firmware.on_command(b"true");
        assert!(plays(&mut firmware));

        firmware.on_peer_reading(br#"{"temperature":35}"#);
        firmware.on_command(b"false");
        assert!(!plays(&mut firmware));

        firmware.on_command(b"");
        assert!(plays(&mut firmware));
    }

    #[test]
    fn any_other_text_stops_it() {
        let mut firmware = booted();
        firmware.on_peer_reading(br#"{"temperature":35}"#);
        for other in [&b"banana"[..], b"\xff\xfe", b"{}"] {
            assert_eq!(firmware.on_command(other), Action::Stop);
            assert!(!plays(&mut firmware));
        }
    }

    #[test]
    fn a_reboot_forgets_the_override() {
        let mut firmware = booted();
        firmware.on_command(b"true");
        assert!(plays(&mut firmware));

        let mut firmware = booted();

        assert!(!plays(&mut firmware));
        firmware.on_peer_reading(br#"{"temperature":35}"#);
        assert!(plays(&mut firmware));
    }

    #[test]
    fn the_peers_online_starts_the_melody_over() {
        let mut firmware = booted();
        firmware.on_command(b"play");
        firmware.tick(MOMENT);
        let first = note(&firmware);
        firmware.tick(Duration::from_secs(1));
        assert_ne!(note(&firmware), first);

        firmware.on_peer_online();

        assert_eq!(note(&firmware), first);
        assert!(plays(&mut firmware));
    }

    #[test]
    fn the_peers_online_makes_no_sound_in_silence() {
        let mut firmware = booted();
        firmware.on_peer_online();
        assert!(!plays(&mut firmware));
    }

    #[test]
    fn stop_forgets_the_place_in_the_melody() {
        let mut firmware = booted();
        firmware.on_command(b"on");
        firmware.tick(MOMENT);
        let first = note(&firmware);
        firmware.tick(Duration::from_secs(1));

        firmware.on_command(b"off");
        assert_eq!(firmware.tick(MOMENT), Some(Sound::Silence));
        firmware.on_command(b"on");
        firmware.tick(MOMENT);

        assert_eq!(note(&firmware), first);
    }

    #[test]
    fn each_bar_is_told_once() {
        let mut firmware = booted();
        assert_eq!(firmware.tick(MOMENT), None);
        firmware.on_command(b"1");
        let bars = (0..=9600 / 50).filter_map(|_| firmware.tick(MOMENT)).count();
        assert_eq!(bars, 5);
    }

    #[test]
    fn it_can_say_why() {
        let mut firmware = booted();
        assert_eq!(firmware.reason(), "raspberry has not measured yet");
        firmware.on_peer_reading(br#"{"temperature":29.41,"threshold":29}"#);
        assert_eq!(firmware.reason(), "raspberry measures 29.41 °C, over 29.00");
        firmware.on_peer_reading(br#"{"over_threshold":false}"#);
        assert_eq!(firmware.reason(), "raspberry says it is under its threshold");
        firmware.on_command(b"true");
        assert_eq!(firmware.reason(), "told to play");
    }
}
