//! Pictures of the cameras among the services, which send them row by row.
//!
//! A frame is closed when the next one begins or nothing more comes. It stands nowhere but in its rows: the store has
//! them, so that the last frame outlives a restart and a stream of frames resumes.

mod assembler;
mod font;
mod palette;
mod picture;

use std::{pin::Pin, sync::Arc, time::Duration};

use async_graphql::SimpleObject;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use self::assembler::SILENCE_US;
pub use self::{
    assembler::{Assembler, Row},
    picture::png,
};
use crate::{
    catalog::Topic,
    error::Error,
    hub::Hub,
    model::{Cursor, Event, Part, Seq, ServiceName, ServiceReading, Timestamp},
    registry::Registry,
    store::Store,
};

/// How many rows a frame has whose rows are so long: the sensor as the DAQAstra document has it, and as it is usual.
const USUAL: [(usize, usize); 2] = [(24, 36), (32, 24)];

/// Rows that hold a whole frame for sure when the last one is still being sent: two of the highest, and where the first begins.
const ENOUGH_ROWS: usize = 2 * 36 + 1;

/// Readings of a page. The first is enough for a camera that tells the hottest pixel once a frame; what tells it a
/// dozen times between two rows has the second.
const PAGES: [u32; 2] = [128, 1_000];

/// A picture of an infrared camera.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
pub struct Frame {
    /// The first level of the camera's topics.
    pub firmware: String,
    /// The second level of the camera's topics.
    pub service: String,
    /// The place of its first row in the journal.
    pub first_seq: Seq,
    /// The place of its last row in the journal: the `after` of a stream that goes on from here.
    pub seq: Seq,
    /// When its last row arrived.
    pub at: Timestamp,
    /// How many pixels a row has.
    pub columns: u32,
    /// Temperatures in degrees Celsius: rows from the top, each from left to right. A row that did not arrive is null.
    pub rows: Vec<Option<Vec<f64>>>,
    /// The lowest temperature, in degrees Celsius.
    pub min: f64,
    /// The highest temperature, in degrees Celsius.
    pub max: f64,
    /// Where that is: the first from the top and the left, if it is in several places.
    pub hottest: Pixel,
}

/// A place in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, SimpleObject, ToSchema)]
pub struct Pixel {
    /// From the top, counted from 0.
    pub row: u32,
    /// From the left, counted from 0.
    pub column: u32,
}

/// The last closed frame of a service.
pub async fn last(store: &Store, registry: &Registry, service: &ServiceName) -> Result<Frame, Error> {
    registry.get(service)?;
    let (closed, mut sent) = assembled(store, registry, service, Seq(i64::MAX)).await?;
    sent.due(Timestamp::now()).or(closed).ok_or_else(|| none_of(service))
}

/// The frames of a service as they are closed: first the last one that is, or with `after` all whose last row is after that
/// place. The service may be one that has not spoken yet, but none of a kind that sends no rows.
pub async fn closed(
    hub: &Hub,
    store: &Store,
    registry: &Registry,
    service: ServiceName,
    after: Option<Seq>,
) -> Result<impl Stream<Item = Result<Frame, Error>> + Send + use<>, Error> {
    if let Some(kind) = registry.get(&service).ok().and_then(|known| known.kind)
        && !kind.topics.iter().any(has_rows)
    {
        return Err(none_of(&service));
    }
    let from = after.unwrap_or_else(|| hub.head());
    let (closed, mut assembler) = assembled(store, registry, &service, from).await?;
    let first = match after {
        Some(_) => None,
        None => assembler.due(Timestamp::now()).or(closed),
    };
    let mut camera = Camera {
        events: hub.events(from).boxed(),
        hub: hub.clone(),
        registry: registry.clone(),
        service,
        assembler,
        seen: from,
        after,
        due: None,
    };
    camera.wait();
    let live = stream::unfold(Some(camera), |camera| async move {
        let mut camera = camera?;
        match camera.next().await {
            Ok(frame) => Some((Ok(frame), Some(camera))),
            Err(why) => Some((Err(why), None)),
        }
    });
    Ok(stream::iter(first.map(Ok)).chain(live))
}

/// Whether what comes on a topic is rows.
pub fn has_rows(topic: &Topic) -> bool {
    let is_row = |example: &&str| topic.read(example.as_bytes()).is_ok_and(|said| said.row().is_some());
    topic.examples.iter().any(is_row)
}

fn none_of(service: &ServiceName) -> Error {
    Error::NotFound { what: "frame of the service", name: service.to_string() }
}

/// The last frame that the rows up to a place close, and the one that is being sent there.
async fn assembled(
    store: &Store,
    registry: &Registry,
    service: &ServiceName,
    upto: Seq,
) -> Result<(Option<Frame>, Assembler), Error> {
    let mut assembler = Assembler::new(service.clone());
    let rows = rows(store, registry, service, upto).await?;
    let closed = rows.into_iter().filter_map(|row| assembler.push(row)).last();
    Ok((closed, assembler))
}

/// The rows of a service up to a place, oldest first: at least all of the last closed frame and of the one that is
/// being sent.
async fn rows(
    store: &Store,
    registry: &Registry,
    service: &ServiceName,
    upto: Seq,
) -> Result<Vec<Row>, Error> {
    let Some(newest) = newest_row(registry, service) else { return Ok(Vec::new()) };
    let mut cursor = Some(Cursor::Before(newest.min(upto).next()));
    let mut rows = Vec::new();
    for limit in PAGES {
        let page = store.service_readings(&[service.as_str()], None, Part::of(cursor, limit)).await?;
        rows.extend(page.items.iter().filter_map(|reading| row(registry, reading)));
        cursor = page.next;
        if rows.len() >= ENOUGH_ROWS || cursor.is_none() {
            break;
        }
    }
    rows.reverse();
    Ok(rows)
}

/// Where the newest row of a service is, if it sends rows: what else it says since then need not be read.
fn newest_row(registry: &Registry, service: &ServiceName) -> Option<Seq> {
    let service = registry.get(service).ok()?;
    let kind = service.kind?;
    let rows = |suffix: &str| kind.resolve(suffix).is_some_and(|found| has_rows(found.topic));
    let heard = service.topics.iter().filter(|(suffix, heard)| rows(suffix) && !heard.replayed);
    heard.map(|(_, heard)| heard.seq).max()
}

/// What a reading says, if it is a row. One that was replayed belongs to a frame that is long gone.
fn row(registry: &Registry, reading: &ServiceReading) -> Option<Row> {
    if reading.replay_of.is_some() {
        return None;
    }
    let typed = registry.typed(&reading.topic, &reading.payload)?;
    let pixels = typed.payload.row()?.to_vec();
    Some(Row { seq: reading.seq, at: reading.at, number: typed.index?, pixels })
}

/// A service whose frames are followed.
struct Camera {
    events: Pin<Box<dyn Stream<Item = Result<Arc<Event>, Error>> + Send>>,
    hub: Hub,
    registry: Registry,
    service: ServiceName,
    assembler: Assembler,
    /// The last event that was looked at.
    seen: Seq,
    /// Frames that end here or before are known.
    after: Option<Seq>,
    /// When nothing more is expected of the frame that is being sent.
    due: Option<Instant>,
}

impl Camera {
    async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            let closed = match self.hear().await? {
                Some(event) => self.look(&event),
                None => {
                    self.due = None;
                    self.assembler.close()
                }
            };
            let news = |frame: &Frame| self.after.is_none_or(|after| frame.seq > after);
            if let Some(frame) = closed.filter(news) {
                return Ok(frame);
            }
        }
    }

    /// The next event, or none when the frame that is being sent has waited long enough for it.
    async fn hear(&mut self) -> Result<Option<Arc<Event>>, Error> {
        let heard = match self.due {
            None => self.events.next().await,
            Some(due) => match timeout_at(due, self.events.next()).await {
                Ok(heard) => heard,
                // What is told already came before the silence.
                Err(_) if self.seen < self.hub.head() => self.events.next().await,
                Err(_) => return Ok(None),
            },
        };
        heard.ok_or(Error::Unavailable("the journal"))?.map(Some)
    }

    fn look(&mut self, event: &Event) -> Option<Frame> {
        self.seen = event.seq();
        let row = match event {
            Event::ServiceReading(reading) if reading.topic.service() == self.service.as_str() => {
                row(&self.registry, reading)?
            }
            Event::ServiceReading(_)
            | Event::Reading(_)
            | Event::Presence(_)
            | Event::Session(_)
            | Event::Service(_)
            | Event::Command(_)
            | Event::Rejection(_) => return None,
        };
        let closed = self.assembler.push(row);
        self.wait();
        closed
    }

    /// Waits for the next row as long as is left since the last one. Measured with the machine's own clock: that of the
    /// journal may be set meanwhile.
    fn wait(&mut self) {
        self.due = self.assembler.last_at().map(|last| {
            let passed = Timestamp::now().millis_since(last).unsigned_abs();
            let passed = Duration::from_millis(passed);
            Instant::now() + Duration::from_micros(SILENCE_US).saturating_sub(passed)
        });
    }
}
