//! What happens, as it happens: first what a client has missed, from the store, then live.
//!
//! Both come from one stream of the hub that starts at an exact place in the journal, so that between them
//! nothing is missing and nothing comes twice.

use std::{collections::HashSet, sync::Arc};

use async_graphql::{Context, Subscription};
use futures_util::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use super::{
    app,
    conflation::{self, LiveReading, SensorReading, Told},
    frames,
    limits::count,
    problem::Problem,
    service::ReadingFilter,
};
use crate::{
    app::App,
    crosslink::{self, CrossLink},
    devices::{Device, State},
    error::Error,
    frames::Frame,
    model::{CommandRecord, Event, PresenceChange, Reading, Rejection, Seq, ServiceChange, Timestamp},
    registry::{Book, ServiceFilter},
    store::{CommandFilter, RejectionFilter},
};

pub struct Subscription;

/// What happens, as it happens. A subscription that says `after` resumes without hole or duplicate; one that is
/// read slowly is caught up from the database and loses nothing.
#[Subscription]
impl Subscription {
    /// Readings as they arrive. With `maxRate` only the newest of each device, at most so many a second: the first
    /// at once, and none before those that came earlier, so that `seq` only grows and `after` resumes. What was made
    /// of a rejection is newer than nothing, and left out then.
    async fn sensors(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only of these devices.")] devices: Option<Vec<String>>,
        #[graphql(desc = "Also what came after this place in the journal.")] after: Option<Seq>,
        #[graphql(
            default = false,
            desc = "Begin with the last reading of each device. Not needed with `after`, which brings what is newer."
        )]
        current: bool,
        #[graphql(desc = "Readings of a device in a second, 0.1 to 100; without it all of them.")]
        max_rate: Option<f64>,
    ) -> Result<BoxStream<'static, Result<SensorReading, Problem>>, Problem> {
        let app = app(context);
        let wanted = Wanted::new(devices);
        let every = max_rate.map(conflation::every).transpose()?;
        let (state, from) = start(app, after).await?;
        let mut latest: Vec<Reading> = match state {
            Some(state) if current => {
                wanted.among(&state).filter_map(|device| device.latest.clone()).collect()
            }
            Some(_) | None => Vec::new(),
        };
        latest.sort_by_key(|reading| reading.seq);
        let pick = move |event: &Event| match event {
            Event::Reading(reading) if wanted.has(&reading.device) => Some(reading.clone()),
            Event::Reading(_)
            | Event::Presence(_)
            | Event::Session(_)
            | Event::ServiceReading(_)
            | Event::Service(_)
            | Event::Command(_)
            | Event::Rejection(_) => None,
        };
        let Some(every) = every else {
            return Ok(told(latest, events(app, from, pick)).map_ok(SensorReading::from).boxed());
        };
        let steps = app.hub.events(from).map_ok(move |event| (event.seq(), pick(&event)));
        let hub = app.hub.clone();
        let conflated = conflation::conflated(latest, steps, move || hub.head(), every);
        Ok(conflated.map_ok(SensorReading::from).boxed())
    }

    /// What services measure or report, as it arrives. With `maxRate` only the newest of each topic, as in `sensors`.
    /// A filter by kind has what comes after the kind of a service is known; what came before, `after` brings.
    async fn readings(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those that are all of this.")] filter: Option<ReadingFilter>,
        #[graphql(desc = "Also what came after this place in the journal.")] after: Option<Seq>,
        #[graphql(
            default = false,
            desc = "Begin with the last reading of each topic. Not needed with `after`, which brings what is newer."
        )]
        current: bool,
        #[graphql(desc = "Readings of a topic in a second, 0.1 to 100; without it all of them.")]
        max_rate: Option<f64>,
    ) -> Result<BoxStream<'static, Result<LiveReading, Problem>>, Problem> {
        let app = app(context);
        let filter = filter.unwrap_or_default();
        let services = filter.services()?;
        let every = max_rate.map(conflation::every).transpose()?;
        let (book, from) = known(app, after).await?;
        let latest = match book {
            Some(book) if current => {
                let seqs = book.latest(&services, filter.suffix.as_deref());
                count(context, seqs.len())?;
                app.store.service_readings_at(&seqs).await?
            }
            Some(_) | None => Vec::new(),
        };
        let registry = app.registry.clone();
        let pick = move |event: &Event| match event {
            Event::ServiceReading(reading) if filter.has(reading, &registry) => Some(reading.clone()),
            Event::ServiceReading(_)
            | Event::Reading(_)
            | Event::Presence(_)
            | Event::Session(_)
            | Event::Service(_)
            | Event::Command(_)
            | Event::Rejection(_) => None,
        };
        let Some(every) = every else {
            return Ok(told(latest, events(app, from, pick)).map_ok(LiveReading::from).boxed());
        };
        let steps = app.hub.events(from).map_ok(move |event| (event.seq(), pick(&event)));
        let hub = app.hub.clone();
        let conflated = conflation::conflated(latest, steps, move || hub.head(), every);
        Ok(conflated.map_ok(LiveReading::from).boxed())
    }

    /// Services that appear, and what becomes known of their kind. Without `after` it begins with each service as it is
    /// now, under the seq of its last change.
    async fn services(
        &self,
        context: &Context<'_>,
        #[graphql(
            desc = "Only changes into what is all of this: with `kind`, only those that make a service one of that kind."
        )]
        filter: Option<ServiceFilter>,
        #[graphql(desc = "Only what came after this place in the journal.")] after: Option<Seq>,
    ) -> Result<impl Stream<Item = Result<ServiceChange, Problem>> + use<>, Problem> {
        let app = app(context);
        let filter = filter.unwrap_or_default().checked()?;
        let (book, from) = known(app, after).await?;
        let services = book.iter().flat_map(Book::services).filter(|service| filter.has(service));
        let mut standing: Vec<ServiceChange> = services.map(|service| service.standing()).collect();
        standing.sort_by_key(|change| change.seq);
        let live = events(app, from, move |event| match event {
            Event::Service(change) if filter.has_change(change) => Some(change.clone()),
            Event::Service(_)
            | Event::Reading(_)
            | Event::Presence(_)
            | Event::Session(_)
            | Event::ServiceReading(_)
            | Event::Command(_)
            | Event::Rejection(_) => None,
        });
        Ok(stream::iter(standing.into_iter().map(Ok)).chain(live))
    }

    /// Changes of presence. Without `after` it begins with each device as it is now, under the seq of its last
    /// change: 0 when it has never changed.
    async fn presence(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only of these devices.")] devices: Option<Vec<String>>,
        #[graphql(desc = "Only what came after this place in the journal.")] after: Option<Seq>,
    ) -> Result<impl Stream<Item = Result<PresenceChange, Problem>> + use<>, Problem> {
        let app = app(context);
        let wanted = Wanted::new(devices);
        let (state, from) = start(app, after).await?;
        let mut standing: Vec<PresenceChange> =
            state.iter().flat_map(|state| wanted.among(state)).map(|device| standing(device)).collect();
        standing.sort_by_key(|change| change.seq);
        let live = events(app, from, move |event| match event {
            Event::Presence(change) if wanted.has(&change.device) => Some(change.clone()),
            Event::Presence(_)
            | Event::Reading(_)
            | Event::Session(_)
            | Event::ServiceReading(_)
            | Event::Service(_)
            | Event::Command(_)
            | Event::Rejection(_) => None,
        });
        Ok(stream::iter(standing.into_iter().map(Ok)).chain(live))
    }

    /// How a device of the pair stands to its peer, whenever that changes. Without `after` it begins with how it
    /// is now.
    async fn cross_link(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "A device that has a peer.")] device: String,
        #[graphql(desc = "Only what changed after this place in the journal.")] after: Option<Seq>,
    ) -> Result<impl Stream<Item = Result<CrossLink, Problem>> + use<>, Problem> {
        let app = app(context);
        if let Some(after) = after {
            reached(app, after).await?;
        }
        let changes = crosslink::changes(&app.devices, &app.hub, &app.store, &device, after).await?;
        Ok(changes.map(|change| change.map_err(Problem::from)))
    }

    /// Pictures of an infrared camera, each when it is complete: the next one begins, or nothing more came for 2 s.
    /// Without `after` it begins with the last one that is. The camera may be one that has not spoken yet;
    /// a service of a kind that sends no pictures has none.
    async fn ir_frames(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The first level of its topics.")] firmware: String,
        #[graphql(desc = "The second level of its topics.")] service: String,
        #[graphql(
            desc = "Also those that end after this place in the journal: the `seq` of the last one seen."
        )]
        after: Option<Seq>,
    ) -> Result<impl Stream<Item = Result<Frame, Problem>> + use<>, Problem> {
        let app = app(context);
        if let Some(after) = after {
            reached(app, after).await?;
        }
        frames::of(app, &firmware, &service, after).await
    }

    /// Commands as they come in, and whatever becomes of them: each change of their state, a delivery that rises, an
    /// answer that comes after the end.
    async fn commands(
        &self,
        context: &Context<'_>,
        #[graphql(
            desc = "Only records that are all of this: with `state`, only the changes into that state."
        )]
        filter: Option<CommandFilter>,
        #[graphql(desc = "Also what happened after this place in the journal.")] after: Option<Seq>,
    ) -> Result<impl Stream<Item = Result<CommandRecord, Problem>> + use<>, Problem> {
        let app = app(context);
        let filter = filter.unwrap_or_default();
        let (_, from) = start(app, after).await?;
        Ok(events(app, from, move |event| match event {
            Event::Command(record) if filter.has(record) => Some(record.clone()),
            Event::Command(_)
            | Event::Reading(_)
            | Event::Presence(_)
            | Event::Session(_)
            | Event::ServiceReading(_)
            | Event::Service(_)
            | Event::Rejection(_) => None,
        }))
    }

    /// Messages that could not be understood, as they come in: those that are kept, as in the query.
    async fn rejections(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those that are all of this.")] filter: Option<RejectionFilter>,
        #[graphql(desc = "Also what came after this place in the journal.")] after: Option<Seq>,
    ) -> Result<impl Stream<Item = Result<Rejection, Problem>> + use<>, Problem> {
        let app = app(context);
        let filter = filter.unwrap_or_default();
        let (_, from) = start(app, after).await?;
        Ok(events(app, from, move |event| match event {
            Event::Rejection(rejection) if filter.has(rejection) => Some(rejection.clone()),
            Event::Rejection(_)
            | Event::Reading(_)
            | Event::Presence(_)
            | Event::Session(_)
            | Event::ServiceReading(_)
            | Event::Service(_)
            | Event::Command(_) => None,
        }))
    }
}

/// Where a stream starts: at `after`, or at how things stand now.
async fn start(app: &App, after: Option<Seq>) -> Result<(Option<State>, Seq), Problem> {
    match after {
        Some(after) => {
            reached(app, after).await?;
            Ok((None, after))
        }
        None => {
            let state = app.devices.state();
            let seq = state.seq();
            Ok((Some(state), seq))
        }
    }
}

/// Where a stream of services starts: at `after`, or at what is known now.
async fn known(app: &App, after: Option<Seq>) -> Result<(Option<Book>, Seq), Problem> {
    if let Some(after) = after {
        reached(app, after).await?;
        return Ok((None, after));
    }
    // What was told is in the book, which may already hold what is told next.
    let head = app.hub.head();
    let book = app.registry.book();
    let from = book.seq().max(head);
    Ok((Some(book), from))
}

/// What is told first, then what comes, and nothing left out.
fn told<T: Send + 'static>(
    first: Vec<T>,
    live: impl Stream<Item = Result<T, Problem>> + Send + 'static,
) -> impl Stream<Item = Result<Told<T>, Problem>> + Send {
    stream::iter(first).map(Ok).chain(live).map_ok(Told::from)
}

/// Refuses a place that the journal has not reached: the client must know it from another database.
async fn reached(app: &App, after: Seq) -> Result<(), Problem> {
    if after <= app.hub.head() {
        return Ok(());
    }
    // What is committed may already be known when it is not yet told.
    let head = app.store.head().await?;
    if after <= head {
        return Ok(());
    }
    Err(Problem::invalid(format!("the journal of this gateway ends at {head}, before {after}")))
}

/// What `pick` takes of the events after a place, for ever.
fn events<T, F>(app: &App, from: Seq, pick: F) -> impl Stream<Item = Result<T, Problem>> + Send + use<T, F>
where
    T: Send,
    F: Fn(&Event) -> Option<T> + Send,
{
    app.hub.events(from).filter_map(move |event: Result<Arc<Event>, Error>| {
        std::future::ready(match event {
            Ok(event) => pick(&event).map(Ok),
            Err(why) => Some(Err(why.into())),
        })
    })
}

/// The presence of a device as the change that led to it.
fn standing(device: &Device) -> PresenceChange {
    PresenceChange {
        seq: device.presence_seq,
        at: device.presence.since.unwrap_or_else(Timestamp::now),
        device: device.name.clone(),
        flapping: false,
        presence: device.presence.clone(),
    }
}

/// Which devices a client wants to hear of.
struct Wanted(Option<HashSet<String>>);

impl Wanted {
    fn new(devices: Option<Vec<String>>) -> Wanted {
        Wanted(devices.map(HashSet::from_iter))
    }

    fn has(&self, device: &str) -> bool {
        self.0.as_ref().is_none_or(|devices| devices.contains(device))
    }

    fn among<'a>(&'a self, state: &'a State) -> impl Iterator<Item = &'a Arc<Device>> {
        state.devices().filter(|device| self.has(&device.name))
    }
}
