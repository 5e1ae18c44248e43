//! Who is there, and how we know.
//!
//! A pure state machine: it is told what the sessions do and what the devices say, in order, and answers
//! with the changes. Time is an argument.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::model::{Presence, PresenceChange, PresenceReason, Seq, SessionEnd, SessionId, Status, Timestamp};

/// How long a device may be silent, whatever its period.
const SILENCE: Duration = Duration::from_secs(5);
/// And how many of its periods.
const SILENT_PERIODS: u32 = 3;
/// How long after that, or after the gateway's start, a device without a session counts as gone.
const GONE: Duration = Duration::from_secs(45);
/// Intervals between readings that the period is the median of: old ones must not hide a new pace.
const INTERVALS: usize = 15;
/// A device that goes, or is taken over, so often within so long is flapping.
const FLAPS: usize = 5;
const FLAPPING: Duration = Duration::from_secs(60);
/// Of a device that is flapping so little is told: it must not fill the journal.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What the machine is told.
#[derive(Clone, Copy, Debug)]
pub enum Signal<'a> {
    /// A client connected. `will` is the device whose presence topic its will is on.
    Started {
        session: SessionId,
        client_id: &'a str,
        will: Option<&'a str>,
    },
    Ended {
        session: SessionId,
        end: SessionEnd,
        will_published: bool,
        successor: Option<SessionId>,
    },
    /// `online` on the device's topic, or on its alias, which alone proves nothing.
    Online {
        session: SessionId,
        client_id: &'a str,
        device: &'a str,
        alias: bool,
    },
    /// `offline` on the device's topic.
    Offline {
        device: &'a str,
    },
    /// A valid reading; `alone` when it proves nothing by itself, because it came by an alias or a will.
    Reading {
        session: SessionId,
        client_id: &'a str,
        device: &'a str,
        alone: bool,
    },
}

/// Watches over the devices.
#[derive(Debug, Default)]
pub struct Watch {
    devices: BTreeMap<String, Track>,
    sessions: HashMap<SessionId, Speaker>,
}

/// One device.
#[derive(Debug)]
struct Track {
    presence: Presence,
    /// The live sessions that speak for it.
    speakers: Vec<SessionId>,
    /// When it was last heard, or came online: silence counts from here.
    heard: Instant,
    intervals: VecDeque<Duration>,
    last_reading: Option<Timestamp>,
    /// When it counts as gone if nothing is heard of it.
    gone_at: Option<Instant>,
    /// When it went, the last times.
    flaps: VecDeque<Instant>,
    /// When something was told of it.
    told: Option<Instant>,
    /// The last change, not told yet because the device is flapping.
    held: Option<PresenceChange>,
}

/// One session.
#[derive(Debug)]
struct Speaker {
    client_id: String,
    /// For whom it speaks, and whether it has said so: by its will or by `online`.
    devices: Vec<(String, bool)>,
    /// The device whose presence its will is about.
    will: Option<String>,
}

impl Watch {
    /// After a start: the devices that were known are unknown until they speak.
    pub fn restored(
        known: Vec<(String, Presence)>,
        at: Timestamp,
        now: Instant,
    ) -> (Watch, Vec<PresenceChange>) {
        let mut watch = Watch::default();
        let mut changes = Vec::new();
        for (device, presence) in known {
            let mut track = Track::new(now);
            track.gone_at = Some(now + GONE);
            track.presence = Presence {
                status: Status::Unknown,
                since: Some(at),
                reason: Some(PresenceReason::Restart),
                last_message_at: presence.last_message_at,
                client_id: presence.client_id,
                session: None,
            };
            changes.push(track.change(&device, at));
            watch.devices.insert(device, track);
        }
        (watch, changes)
    }

    /// What follows from a signal, in order. Of a device that is flapping some is left out; the last comes out
    /// with the time.
    pub fn observe(&mut self, signal: Signal<'_>, at: Timestamp, now: Instant) -> Vec<PresenceChange> {
        let changes = self.changes(signal, at, now);
        self.paced(changes, now)
    }

    fn changes(&mut self, signal: Signal<'_>, at: Timestamp, now: Instant) -> Vec<PresenceChange> {
        match signal {
            Signal::Started { session, client_id, will } => {
                self.start(session, client_id, will);
                Vec::new()
            }
            Signal::Ended { session, end, will_published, successor } => {
                self.end(session, end, will_published, successor, at, now)
            }
            Signal::Online { alias: true, .. } => Vec::new(),
            Signal::Online { session, client_id, device, alias: false } => {
                self.bind(session, device, true);
                let track = self.track(device, now);
                track.presence.last_message_at = Some(at);
                track.heard = now;
                track.gone_at = None;
                if track.presence.status == Status::Online && track.is_of(session) {
                    return Vec::new();
                }
                track.speaks(session, client_id);
                vec![track.turn(device, Status::Online, PresenceReason::Announced, at)]
            }
            Signal::Offline { device } => {
                let track = self.track(device, now);
                track.gone_at = None;
                if track.presence.status == Status::Offline {
                    return Vec::new();
                }
                vec![track.turn(device, Status::Offline, PresenceReason::SelfReported, at)]
            }
            Signal::Reading { session, client_id, device, alone } => {
                self.reading(session, client_id, device, alone, at, now)
            }
        }
    }

    /// What follows from the time that has passed.
    pub fn tick(&mut self, at: Timestamp, now: Instant) -> Vec<PresenceChange> {
        let mut changes = Vec::new();
        for (device, track) in &mut self.devices {
            let silent = now.saturating_duration_since(track.heard);
            // The first comparison spares the second for nearly all.
            if track.presence.status == Status::Online && silent >= SILENCE && silent >= track.patience() {
                changes.push(track.turn(device, Status::Stale, PresenceReason::Silence, at));
                if track.speakers.is_empty() {
                    track.gone_at = Some(now + GONE);
                }
            }
            if track.gone_at.is_some_and(|gone_at| now >= gone_at) {
                track.gone_at = None;
                changes.push(track.turn(device, Status::Offline, PresenceReason::Silence, at));
            }
        }
        let mut changes = self.paced(changes, now);
        changes.extend(self.devices.values_mut().filter_map(|track| track.released(now)));
        changes
    }

    /// How many devices were ever heard.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// How a device stands, if it was ever heard.
    pub fn status(&self, device: &str) -> Option<Status> {
        self.devices.get(device).map(|track| track.presence.status)
    }

    fn paced(&mut self, changes: Vec<PresenceChange>, now: Instant) -> Vec<PresenceChange> {
        let paced = |change: PresenceChange| self.devices.get_mut(&change.device)?.paced(change, now);
        changes.into_iter().filter_map(paced).collect()
    }

    fn start(&mut self, session: SessionId, client_id: &str, will: Option<&str>) {
        let speaker = self.sessions.entry(session).or_insert_with(|| Speaker::new(client_id));
        speaker.client_id = client_id.to_owned();
        speaker.will = will.map(str::to_owned);
        if let Some(device) = will {
            self.bind(session, device, true);
        }
    }

    fn end(
        &mut self,
        session: SessionId,
        end: SessionEnd,
        will_published: bool,
        successor: Option<SessionId>,
        at: Timestamp,
        now: Instant,
    ) -> Vec<PresenceChange> {
        let Some(speaker) = self.sessions.remove(&session) else { return Vec::new() };
        if let Some(successor) = successor {
            return self.take_over(session, speaker, successor, at, now);
        }
        let mut changes = Vec::new();
        for (device, announced) in speaker.devices {
            let Some(track) = self.devices.get_mut(&device) else { continue };
            track.speakers.retain(|speaker| *speaker != session);
            let here = matches!(track.presence.status, Status::Online | Status::Stale);
            if let Some(other) = track.speakers.last().copied() {
                if let Some(speaker) = self.sessions.get(&other).filter(|_| here && track.is_of(session)) {
                    track.speaks(other, &speaker.client_id);
                    let status = track.presence.status;
                    changes.push(track.turn(&device, status, PresenceReason::Handover, at));
                }
                continue;
            }
            let will = will_published && speaker.will.as_ref() == Some(&device);
            let reason = match end {
                SessionEnd::Shutdown => continue,
                // Somebody who only dropped a reading and left: the device itself may well be there.
                SessionEnd::Disconnect if !announced => {
                    if track.presence.status == Status::Stale {
                        track.gone_at = Some(now + GONE);
                    }
                    continue;
                }
                SessionEnd::Keepalive => PresenceReason::Keepalive,
                SessionEnd::SocketError => PresenceReason::SocketError,
                SessionEnd::DisconnectWithWill | SessionEnd::Closed | SessionEnd::Refused if will => {
                    PresenceReason::Will
                }
                SessionEnd::Disconnect
                | SessionEnd::DisconnectWithWill
                | SessionEnd::Closed
                | SessionEnd::Refused
                | SessionEnd::Takeover => PresenceReason::Closed,
            };
            if here {
                changes.push(track.turn(&device, Status::Offline, reason, at));
            }
        }
        changes
    }

    /// The same client has connected again: for its devices nothing has ended.
    fn take_over(
        &mut self,
        session: SessionId,
        old: Speaker,
        successor: SessionId,
        at: Timestamp,
        now: Instant,
    ) -> Vec<PresenceChange> {
        let mut changes = Vec::new();
        let heir = self.sessions.entry(successor).or_insert_with(|| Speaker::new(&old.client_id));
        for (device, announced) in old.devices {
            heir.bind(&device, announced);
            let Some(track) = self.devices.get_mut(&device) else { continue };
            track.speakers.retain(|speaker| *speaker != session && *speaker != successor);
            track.speakers.push(successor);
            let here = matches!(track.presence.status, Status::Online | Status::Stale);
            if here && track.is_of(session) {
                track.heard = now;
                track.speaks(successor, &old.client_id);
                changes.push(track.turn(&device, Status::Online, PresenceReason::Takeover, at));
            }
        }
        changes
    }

    fn reading(
        &mut self,
        session: SessionId,
        client_id: &str,
        device: &str,
        alone: bool,
        at: Timestamp,
        now: Instant,
    ) -> Vec<PresenceChange> {
        if !alone {
            self.bind(session, device, false);
        }
        let track = self.track(device, now);
        track.heard_reading(at, now);
        track.presence.last_message_at = Some(at);
        // By an alias it proves that a device goes on which a session speaks for, no more.
        let proves = !alone || (track.presence.status == Status::Stale && !track.speakers.is_empty());
        if !proves {
            return Vec::new();
        }
        track.gone_at = None;
        let online = track.presence.status == Status::Online;
        let orphaned = track.presence.session.is_none_or(|session| !track.speakers.contains(&session));
        if !alone && (!online || orphaned) {
            track.speaks(session, client_id);
        }
        if online {
            return Vec::new();
        }
        vec![track.turn(device, Status::Online, PresenceReason::Reading, at)]
    }

    fn bind(&mut self, session: SessionId, device: &str, announced: bool) {
        // A will is published after its session has ended.
        let Some(speaker) = self.sessions.get_mut(&session) else { return };
        let track = self.devices.get_mut(device);
        let speaks = track.as_ref().is_some_and(|track| track.speakers.contains(&session));
        // One session may speak for thousands: its list is not searched at each reading.
        if speaks && !announced {
            return;
        }
        speaker.bind(device, announced);
        if let Some(track) = track.filter(|_| !speaks) {
            track.speakers.push(session);
        }
    }

    /// The device, which may be heard for the first time.
    fn track(&mut self, device: &str, now: Instant) -> &mut Track {
        if !self.devices.contains_key(device) {
            let mut track = Track::new(now);
            track.speakers = self
                .sessions
                .iter()
                .filter(|(_, speaker)| speaker.devices.iter().any(|(name, _)| name == device))
                .map(|(session, _)| *session)
                .collect();
            self.devices.insert(device.to_owned(), track);
        }
        self.devices.get_mut(device).expect("it was inserted above")
    }
}

impl Speaker {
    fn new(client_id: &str) -> Speaker {
        Speaker { client_id: client_id.to_owned(), devices: Vec::new(), will: None }
    }

    fn bind(&mut self, device: &str, announced: bool) {
        match self.devices.iter_mut().find(|(name, _)| name == device) {
            Some((_, before)) => *before |= announced,
            None => self.devices.push((device.to_owned(), announced)),
        }
    }
}

impl Track {
    fn new(now: Instant) -> Track {
        Track {
            presence: Presence::default(),
            speakers: Vec::new(),
            heard: now,
            intervals: VecDeque::new(),
            last_reading: None,
            gone_at: None,
            flaps: VecDeque::new(),
            told: None,
            held: None,
        }
    }

    /// The change, marked and held back if the device is flapping.
    fn paced(&mut self, mut change: PresenceChange, now: Instant) -> Option<PresenceChange> {
        let Presence { status, reason, .. } = change.presence;
        if status == Status::Offline || reason == Some(PresenceReason::Takeover) {
            if self.flaps.len() == FLAPS {
                self.flaps.pop_front();
            }
            self.flaps.push_back(now);
        }
        change.flapping =
            self.flaps.len() == FLAPS && self.flaps.front().is_some_and(|first| now < *first + FLAPPING);
        self.held = Some(change);
        self.released(now)
    }

    /// What was held back, if it is time to tell it.
    fn released(&mut self, now: Instant) -> Option<PresenceChange> {
        let waits = |told: Instant| now < told + TOLD_EVERY;
        let change = self.held.take_if(|held| !(held.flapping && self.told.is_some_and(waits)))?;
        self.told = Some(now);
        Some(change)
    }

    /// Whether this is the session that is named.
    fn is_of(&self, session: SessionId) -> bool {
        self.presence.session == Some(session)
    }

    fn speaks(&mut self, session: SessionId, client_id: &str) {
        self.presence.session = Some(session);
        self.presence.client_id = Some(client_id.to_owned());
    }

    /// Its pace is told by when readings arrived, which may be long before they are looked at. A clock that
    /// is set anew makes one interval wrong, which the median bears.
    fn heard_reading(&mut self, at: Timestamp, now: Instant) {
        if let Some(last) = self.last_reading.replace(at) {
            if self.intervals.len() == INTERVALS {
                self.intervals.pop_front();
            }
            self.intervals
                .push_back(Duration::from_micros(at.0.saturating_sub(last.0).max(0).unsigned_abs()));
        }
        self.heard = now;
    }

    /// How long it may be silent before it is stale.
    fn patience(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.intervals.iter().copied().collect();
        sorted.sort_unstable();
        match sorted.get(sorted.len() / 2) {
            Some(median) => SILENCE.max(*median * SILENT_PERIODS),
            None => SILENCE,
        }
    }

    /// Changes the status; `since` stays when it is the same one as before.
    fn turn(
        &mut self,
        device: &str,
        status: Status,
        reason: PresenceReason,
        at: Timestamp,
    ) -> PresenceChange {
        if self.presence.status != status {
            self.presence.since = Some(at);
        }
        self.presence.status = status;
        self.presence.reason = Some(reason);
        self.change(device, at)
    }

    fn change(&self, device: &str, at: Timestamp) -> PresenceChange {
        let (device, presence) = (device.to_owned(), self.presence.clone());
        PresenceChange { seq: Seq::ZERO, at, device, flapping: false, presence }
    }
}
