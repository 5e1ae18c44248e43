//! How a session comes to a link to the router, and to another one when the router was replaced.
//!
//! What no router brought it then takes from the tail, once: a command that a router was lost with is not sent again, and a
//! message of QoS 0 is not either. What comes by several overlapping subscriptions is heard once.

use std::collections::VecDeque;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::yield_now,
    time::{Duration, Instant},
};

use super::{End, Session};
use crate::broker::{
    front::codec::QoS,
    router::{Gone, Missed},
};

/// Places that are told in one number.
const WORD: u64 = u64::BITS as u64;
/// A link has brought what its router took in while it was subscribed, by far.
const LATE: Duration = Duration::from_secs(20);
/// A copy of a message comes before so many others went in, by far: 8 KiB of one bit each.
const COPIES: u64 = 64 * 1024;

/// What has come already, of the router's tail and of what went in last.
#[derive(Default)]
pub struct Heard {
    /// A bit for each place in the tail.
    places: VecDeque<u64>,
    /// How many words of places the tail has let go.
    gone: u64,
    /// Up to this number the tail was read, and when: what comes by the link as well comes twice.
    read: u64,
    read_at: Option<Instant>,
    copies: Copies,
}

/// Which messages came, of the last that went in. Nothing is noted before subscriptions are known to overlap.
#[derive(Default)]
struct Copies {
    /// A bit for each message, round and round.
    words: Vec<u64>,
    /// The word of the newest.
    newest: u64,
}

impl Copies {
    fn expect(&mut self) {
        self.words.resize((COPIES / WORD) as usize, 0);
    }

    fn is_first(&mut self, number: u64) -> bool {
        let (count, word) = (self.words.len() as u64, number / WORD);
        if word + count <= self.newest || count == 0 {
            return true;
        }
        for begun in (self.newest + 1..=word).take(self.words.len()) {
            self.words[(begun % count) as usize] = 0;
        }
        self.newest = self.newest.max(word);
        let (bits, bit) = (&mut self.words[(word % count) as usize], 1 << (number % WORD));
        let first = *bits & bit == 0;
        *bits |= bit;
        first
    }
}

impl Heard {
    pub fn note(&mut self, place: u64) {
        let Some(word) = (place / WORD).checked_sub(self.gone).filter(|_| place != 0) else { return };
        // The tail is short, and so is this.
        let word = word as usize;
        if word >= self.places.len() {
            self.places.resize(word + 1, 0);
        }
        self.places[word] |= 1 << (place % WORD);
    }

    fn has(&self, place: u64) -> bool {
        let word = (place / WORD).checked_sub(self.gone).and_then(|word| self.places.get(word as usize));
        word.is_some_and(|word| word >> (place % WORD) & 1 == 1)
    }

    /// Whether the router brings what was taken from the tail before.
    pub fn came_by_the_tail(&self, number: u64, place: u64) -> bool {
        number <= self.read && self.has(place)
    }

    /// Whether this is the first copy of a message that comes by `matching` subscriptions at once.
    pub fn is_first_copy(&mut self, number: u64, matching: usize) -> bool {
        if matching > 1 {
            self.copies.expect();
        }
        self.copies.is_first(number)
    }

    /// A subscription has ended: messages may still come by it, and by others as well.
    pub fn expect_copies(&mut self) {
        self.copies.expect();
    }

    /// What the tail held up to this number has come.
    fn caught_up(&mut self, read: u64, now: Instant) {
        (self.read, self.read_at) = (read, Some(now));
    }

    /// The tail has nothing any more with a lower place than this. The link may.
    pub fn trim(&mut self, begins: u64, now: Instant) {
        if self.read_at.is_some_and(|read_at| now < read_at + LATE) {
            return;
        }
        self.read_at = None;
        let gone = begins / WORD;
        let words = gone.saturating_sub(self.gone).min(self.places.len() as u64);
        self.places.drain(..words as usize);
        self.gone = self.gone.max(gone);
    }
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> Session<R, W> {
    /// Has the router bring what belongs to these filters, which are among the subscriptions already.
    pub(super) async fn link_to(&mut self, filters: &[String]) -> Result<(), End> {
        let Some(link) = &mut self.link else { return self.relink(Gone::Moved).await };
        let mut meanwhile = Vec::new();
        let linked = link.subscribe(filters, &mut meanwhile).await;
        meanwhile.into_iter().try_for_each(|routed| self.deliver(routed))?;
        match linked {
            Ok(()) => Ok(()),
            Err(gone) => self.relink(gone).await,
        }
    }

    /// Gets a link to the router that runs now, for all subscriptions, and what was missed.
    pub(super) async fn relink(&mut self, mut gone: Gone) -> Result<(), End> {
        // The router that runs now waits for those who have not moved: this one has when it has heard what it missed. Else it would
        // have to catch up for ever.
        let mut old = None;
        loop {
            match gone {
                Gone::Moved => old = self.link.take().or(old),
                Gone::Stopped => return Err(End::Shutdown),
            }
            if self.subscriptions.is_empty() {
                return Ok(());
            }
            match self.try_relink().await {
                Ok(done) => {
                    if old.is_some() {
                        self.front.router.count_untold();
                    }
                    return done;
                }
                Err(again) => gone = again,
            }
        }
    }

    async fn try_relink(&mut self) -> Result<Result<(), End>, Gone> {
        let filters: Vec<String> = self.subscriptions.iter().map(|held| held.wanted.filter.clone()).collect();
        let mut link = self.front.router.link().await?;
        let mut meanwhile = Vec::new();
        if let Err(gone) = link.subscribe(&filters, &mut meanwhile).await {
            let heard = meanwhile.into_iter().try_for_each(|routed| self.deliver(routed));
            return if heard.is_ok() { Err(gone) } else { Ok(heard) };
        }
        self.link = Some(link);
        let missed = self.front.router.missed();
        let caught_up = self.catch_up(&missed).await;
        self.heard.caught_up(missed.last, Instant::now());
        Ok(caught_up.and_then(|()| meanwhile.into_iter().try_for_each(|routed| self.deliver(routed))))
    }

    async fn catch_up(&mut self, missed: &Missed) -> Result<(), End> {
        let outbox = self.outbox.clone();
        // The link before brings nothing any more.
        self.heard.read_at = None;
        self.heard.trim(self.front.router.tail_begins(), Instant::now());
        let (at_a_time, mut resent) = (self.at_a_time(), 0);
        // Who has just subscribed has missed nothing.
        let since = self.subscriptions.iter().map(|held| held.since).min().unwrap_or(u64::MAX);
        for (read, entry) in missed.entries(since).enumerate() {
            if read % at_a_time == at_a_time - 1 {
                yield_now().await;
            }
            if self.heard.has(entry.place) {
                continue;
            }
            let topic = entry.topic();
            let Some(routed) = missed.read(entry) else { continue };
            let (_, Some(grant)) = self.granted(topic, routed.header.origin, Some(entry.number)) else {
                continue;
            };
            let mut delivery = self.front.delivery(&routed.header, topic, routed.payload, grant);
            let was_lost = entry.number < missed.first;
            if was_lost && (routed.header.qos == QoS::AtMostOnce || delivery.life.is_some()) {
                continue;
            }
            if let Some(life) = delivery.life {
                let Some(left) = life.checked_sub(entry.at.elapsed()) else { continue };
                delivery.life = Some(left);
            }
            self.heard.note(entry.place);
            outbox.lock().push(delivery)?;
            resent += 1;
        }
        metrics::counter!("crosslink_router_resent_total").increment(resent);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_heard_once_however_many_copies_come() {
        let mut heard = Heard::default();
        assert!(
            heard.is_first_copy(1, 1) && heard.copies.words.is_empty(),
            "nothing overlaps, nothing is noted"
        );
        let first = [700, 700, 801, 700, 801].map(|number| heard.is_first_copy(number, 2));
        assert_eq!(first, [true, false, true, false, false]);
        for number in 1_000..1_000 + COPIES / 2 {
            assert!(heard.is_first_copy(number, 2));
        }
        assert!(!heard.is_first_copy(700, 2), "those that came since have not displaced it");
        for number in [10 * COPIES, 10 * COPIES + 700, 9 * COPIES + 800] {
            assert!(heard.is_first_copy(number, 2), "{number} takes the place of none that was heard");
            assert!(!heard.is_first_copy(number, 2));
        }
        assert!(heard.is_first_copy(700, 2), "too old to be known");
    }

    #[test]
    fn a_copy_by_a_subscription_that_has_ended_counts() {
        let mut heard = Heard::default();
        heard.expect_copies();
        assert_eq!([7, 7].map(|number| heard.is_first_copy(number, 1)), [true, false]);
    }

    #[test]
    fn what_came_by_the_tail_is_known_as_long_as_a_link_may_bring_it() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        [700, 900].into_iter().for_each(|place| heard.note(place));
        heard.caught_up(800, now);
        heard.trim(10_000, now + LATE / 2);
        let came = [700, 701, 900].map(|place| heard.came_by_the_tail(place, place));
        assert_eq!(came, [true, false, false], "700 came, 701 did not, 900 went in later");
        heard.trim(10_000, now + LATE);
        assert!(heard.places.is_empty());
    }
}
