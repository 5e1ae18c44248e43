//! The tune that every device plays.

use std::time::Duration;

/// A tone of the buzzer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) name: &'static str,
    pub(super) millis: u64,
}

/// Four beats of 600 ms.
pub(super) type Bar = [Note];

const TUNE: [&Bar; 4] = [
    &[note("E5", 600), note("G5", 300), note("A5", 300), note("G5", 600), note("E5", 600)],
    &[note("D5", 600), note("E5", 300), note("G5", 300), note("E5", 1200)],
    &[note("A5", 600), note("C6", 300), note("A5", 300), note("G5", 600), note("E5", 600)],
    &[note("D5", 300), note("E5", 300), note("D5", 600), note("C5", 1200)],
];

const fn note(name: &'static str, millis: u64) -> Note {
    Note { name, millis }
}

/// A place in the tune, which begins again after its last note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    bar: usize,
    note: usize,
    /// How much of the note has sounded.
    sounded: Duration,
}

impl Position {
    pub(super) fn bar(&self) -> &'static Bar {
        TUNE[self.bar]
    }

    pub(super) fn note(&self) -> Note {
        self.bar()[self.note]
    }

    /// Plays on. Whether another bar has begun.
    pub(super) fn advance(&mut self, elapsed: Duration) -> bool {
        let mut turned = false;
        self.sounded += elapsed;
        loop {
            let length = Duration::from_millis(self.note().millis);
            if self.sounded < length {
                return turned;
            }
            self.sounded -= length;
            self.note += 1;
            if self.note == self.bar().len() {
                self.note = 0;
                self.bar = (self.bar + 1) % TUNE.len();
                turned = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_as_long_as_the_others() {
        for bar in TUNE {
            assert_eq!(bar.iter().map(|note| note.millis).sum::<u64>(), 2400);
        }
    }

    #[test]
    fn the_tune_begins_again_after_its_last_note() {
        let mut position = Position::default();
        assert!(!position.advance(Duration::from_millis(600)));
        assert_eq!(position.note(), note("G5", 300));
        assert!(position.advance(Duration::from_millis(4 * 2400 - 600)));
        assert_eq!(position, Position::default());
    }
}
