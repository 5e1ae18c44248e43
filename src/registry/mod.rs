//! Which kind each service is, and how that is known.
//!
//! A topic does not say what kind its service is. What the service says leaves fewer kinds, until one is left; a person may
//! say it ahead, or in the end.

mod book;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_graphql::InputObject;

pub use self::book::{Book, Heard, Service};
use crate::{
    broker::{Intake, Pin},
    catalog::{self, Kind, Payload},
    error::Error,
    model::{Event, ServiceChange, ServiceName, ServiceState, ServiceTopic},
    store::Store,
};

/// All services as they are. A cheap handle.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    book: RwLock<Book>,
    intake: Intake,
}

/// Which services are meant: those that are all of what is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, InputObject)]
pub struct ServiceFilter {
    /// Of this firmware.
    pub firmware: Option<String>,
    /// Of this name, in whatever firmware.
    pub service: Option<String>,
    /// Of this kind, by name.
    pub kind: Option<String>,
    /// Whose kind is known as well as this.
    pub state: Option<ServiceState>,
}

impl ServiceFilter {
    /// Refuses the name of a kind that there is not.
    pub fn checked(self) -> Result<ServiceFilter, Error> {
        match &self.kind {
            Some(kind) if catalog::find(kind).is_none() => {
                Err(Error::NotFound { what: "kind", name: kind.clone() })
            }
            Some(_) | None => Ok(self),
        }
    }

    /// Whether a service is one of those.
    pub fn has(&self, service: &Service) -> bool {
        self.firmware.as_ref().is_none_or(|firmware| firmware == service.name.firmware())
            && self.service.as_ref().is_none_or(|name| name == service.name.name())
            && self.kind.as_ref().is_none_or(|kind| service.kind.is_some_and(|known| known.name == kind))
            && self.state.is_none_or(|state| state == service.state)
    }

    /// Whether a change made a service one of those.
    pub fn has_change(&self, change: &ServiceChange) -> bool {
        self.firmware.as_ref().is_none_or(|firmware| firmware == change.service.firmware())
            && self.service.as_ref().is_none_or(|name| name == change.service.name())
            && self.kind.as_ref().is_none_or(|kind| change.kind.as_ref() == Some(kind))
            && self.state.is_none_or(|state| state == change.state)
    }
}

impl Registry {
    /// As the store has it.
    pub async fn restored(store: &Store, intake: Intake) -> Result<Registry, Error> {
        let mut book = Book::default();
        for change in store.service_changes().await? {
            book.apply(&Event::Service(change));
        }
        for topic in store.service_topics().await? {
            book.heard(&topic.topic, topic.seq, topic.at, topic.replayed);
        }
        Ok(Registry(Arc::new(Inner { book: RwLock::new(book), intake })))
    }

    /// Follows what was committed.
    pub fn apply(&self, events: &[Arc<Event>]) {
        let mut book = self.0.book.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            book.apply(event);
        }
    }

    /// Those that the filter has, by name.
    pub fn list(&self, filter: &ServiceFilter) -> Vec<Arc<Service>> {
        self.read().services().filter(|service| filter.has(service)).cloned().collect()
    }

    pub fn get(&self, name: &ServiceName) -> Result<Arc<Service>, Error> {
        let service = self.read().get(name.as_str()).cloned();
        service.ok_or_else(|| Error::NotFound { what: "service", name: name.to_string() })
    }

    /// Says that a service is of a kind, also ahead of its first message. Refused when what it said contradicts it,
    /// unless forced: then what it said before counts no more.
    pub async fn pin(&self, name: &ServiceName, kind: &str, force: bool) -> Result<Arc<Service>, Error> {
        let not_found = || Error::NotFound { what: "kind", name: kind.to_owned() };
        let kind = catalog::find(kind).ok_or_else(not_found)?;
        self.0.intake.pin(name.clone(), Some(Pin { kind, force })).await?;
        self.get(name)
    }

    /// Forgets that a service was pinned: its kind is again what it says.
    pub async fn unpin(&self, name: &ServiceName) -> Result<Arc<Service>, Error> {
        self.0.intake.pin(name.clone(), None).await?;
        self.get(name)
    }

    /// The kind of the service that has a topic, if it is known.
    pub fn kind(&self, topic: &ServiceTopic) -> Option<&'static Kind> {
        self.read().get(topic.service())?.kind
    }

    /// What a reading says, as its type. None while the kind of its service is not known, and for what a service said
    /// before it was pinned, by force, to a kind that does not say it.
    pub fn typed(&self, topic: &ServiceTopic, payload: &[u8]) -> Option<Typed> {
        let kind = self.kind(topic)?;
        let found = kind.resolve(topic.suffix())?;
        let payload = found.topic.read(payload).ok()?;
        Some(Typed { kind, topic: found.topic, index: found.index, payload })
    }

    /// All of them as one.
    pub fn book(&self) -> Book {
        self.read().clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.0.book.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A payload as the type that a service's kind gives it.
#[derive(Clone, Debug)]
pub struct Typed {
    pub kind: &'static Kind,
    pub topic: &'static catalog::Topic,
    /// What stands for the placeholder of the topic's suffix.
    pub index: Option<u16>,
    pub payload: Payload,
}

impl Typed {
    /// The name of its type.
    pub fn name(&self) -> String {
        (self.topic.shape.name)().into_owned()
    }
}
