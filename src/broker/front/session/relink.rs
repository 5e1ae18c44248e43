//! How a session comes to a link to the router, and to another one when the router was replaced.
//!
//! What no router brought it then takes from the tail, once: a command that a router was lost with is not sent again, and a
//! message of QoS 0 is not either.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{End, Session};
use crate::broker::{
    front::codec::QoS,
    router::{Gone, Header, Missed},
};

/// Places that are told in one number.
const WORD: u64 = u64::BITS as u64;

/// What of the router's tail has come already.
#[derive(Default)]
pub struct Heard {
    /// A bit for each place in the tail.
    places: VecDeque<u64>,
    /// How many words of places the tail has let go.
    gone: u64,
    /// Up to this number the tail was read: what comes by the link as well came twice.
    read: u64,
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
    pub fn came_by_the_tail(&self, header: &Header) -> bool {
        header.number <= self.read && self.has(header.place)
    }

    /// The tail has nothing any more with a lower place than this.
    pub fn trim(&mut self, begins: u64) {
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
        // The router that runs now waits for those who have not moved: this one has when it has heard what it missed.
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
        link.subscribe(&filters, &mut meanwhile).await?;
        self.link = Some(link);
        let missed = self.front.router.missed();
        let caught_up = self.catch_up(&missed);
        self.heard.read = missed.last;
        Ok(caught_up.and_then(|()| meanwhile.into_iter().try_for_each(|routed| self.deliver(routed))))
    }

    fn catch_up(&mut self, missed: &Missed) -> Result<(), End> {
        let outbox = self.outbox.clone();
        self.heard.trim(self.front.router.tail_begins());
        let mut outgoing = outbox.lock();
        let mut resent = 0;
        for entry in missed.entries() {
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
            outgoing.push(delivery)?;
            resent += 1;
        }
        metrics::counter!("crosslink_router_resent_total").increment(resent);
        Ok(())
    }
}
