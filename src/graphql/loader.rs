//! Pages of many devices or services at once.
//!
//! `devices { readings }` asks each device for its page. What they ask within a moment is read together, a
//! hundred devices in a statement.

use std::{collections::HashMap, hash::Hash};

use async_graphql::{
    Context,
    dataloader::{DataLoader, Loader},
};

use super::problem::Problem;
use crate::{
    error::Error,
    model::{CommandRecord, Page, Part, PresenceChange, Reading, Seq, ServiceReading},
    store::Store,
};

/// What a device or a service has pages of.
pub trait Kept: Clone + Eq + Hash + Send + Sync + 'static {
    type Item: Clone + Send + Sync + 'static;

    /// The place of an item, for cursors.
    fn place(item: &Self::Item) -> i64;

    /// The same part of each of those that are named. Who has nothing is absent.
    fn of_each(
        &self,
        store: &Store,
        names: &[&str],
        part: Part,
    ) -> impl Future<Output = Result<HashMap<String, Page<Self::Item>>, Error>> + Send;
}

/// What it measured.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Readings;

/// How its presence went.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PresenceHistory;

/// What was asked of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Commands;

/// What a service, `{firmware}/{service}`, measured or reported.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServiceReadings {
    /// On the topic that ends like this; else on all.
    pub suffix: Option<String>,
}

/// What was asked of a service, `{firmware}/{service}`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServiceCommands;

impl Kept for Readings {
    type Item = Reading;

    fn place(reading: &Reading) -> i64 {
        reading.seq.0
    }

    async fn of_each(
        &self,
        store: &Store,
        devices: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<Reading>>, Error> {
        store.readings_of_each(devices, part).await
    }
}

impl Kept for PresenceHistory {
    type Item = PresenceChange;

    fn place(change: &PresenceChange) -> i64 {
        change.seq.0
    }

    async fn of_each(
        &self,
        store: &Store,
        devices: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<PresenceChange>>, Error> {
        store.presence_of_each(devices, part).await
    }
}

impl Kept for Commands {
    type Item = CommandRecord;

    fn place(record: &CommandRecord) -> i64 {
        record.id.0
    }

    async fn of_each(
        &self,
        store: &Store,
        devices: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<CommandRecord>>, Error> {
        store.commands_of_each(devices, part).await
    }
}

impl Kept for ServiceReadings {
    type Item = ServiceReading;

    fn place(reading: &ServiceReading) -> i64 {
        reading.seq.0
    }

    async fn of_each(
        &self,
        store: &Store,
        services: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<ServiceReading>>, Error> {
        store.service_readings_of_each(services, self.suffix.as_deref(), part).await
    }
}

impl Kept for ServiceCommands {
    type Item = CommandRecord;

    fn place(record: &CommandRecord) -> i64 {
        record.id.0
    }

    async fn of_each(
        &self,
        store: &Store,
        services: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<CommandRecord>>, Error> {
        store.commands_of_each_service(services, part).await
    }
}

/// Reads pages and readings, and keeps none.
pub struct Pages(Store);

pub fn loader(store: Store) -> DataLoader<Pages> {
    DataLoader::new(Pages(store), tokio::spawn)
}

/// The page of a device or a service, read together with those of the others.
pub async fn page<K: Kept>(
    context: &Context<'_>,
    kept: K,
    name: &str,
    part: Part,
) -> Result<Page<K::Item>, Problem> {
    let loader = context.data_unchecked::<DataLoader<Pages>>();
    let page = loader.load_one(PageOf { kept, name: name.to_owned(), part }).await?;
    Ok(page.unwrap_or(Page { items: Vec::new(), next: None }))
}

/// The readings of services at these places, in this order, read together with those that others ask for.
pub async fn readings_at(context: &Context<'_>, seqs: &[Seq]) -> Result<Vec<ServiceReading>, Problem> {
    let loader = context.data_unchecked::<DataLoader<Pages>>();
    let mut readings = loader.load_many(seqs.iter().copied().map(ReadingAt)).await?;
    Ok(seqs.iter().filter_map(|seq| readings.remove(&ReadingAt(*seq))).collect())
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct ReadingAt(Seq);

impl Loader<ReadingAt> for Pages {
    type Value = ServiceReading;
    type Error = Problem;

    async fn load(&self, asked: &[ReadingAt]) -> Result<HashMap<ReadingAt, ServiceReading>, Problem> {
        let seqs: Vec<Seq> = asked.iter().map(|at| at.0).collect();
        let readings = self.0.service_readings_at(&seqs).await?;
        Ok(readings.into_iter().map(|reading| (ReadingAt(reading.seq), reading)).collect())
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct PageOf<K> {
    kept: K,
    name: String,
    part: Part,
}

impl<K: Kept> Loader<PageOf<K>> for Pages {
    type Value = Page<K::Item>;
    type Error = Problem;

    async fn load(&self, asked: &[PageOf<K>]) -> Result<HashMap<PageOf<K>, Page<K::Item>>, Problem> {
        let mut alike = HashMap::<(&K, Part), Vec<&PageOf<K>>>::new();
        for page in asked {
            alike.entry((&page.kept, page.part)).or_default().push(page);
        }
        let mut found = HashMap::new();
        for ((kept, part), asked) in alike {
            let names: Vec<&str> = asked.iter().map(|page| page.name.as_str()).collect();
            let mut pages = kept.of_each(&self.0, &names, part).await?;
            for page in asked {
                if let Some(read) = pages.remove(&page.name) {
                    found.insert(page.clone(), read);
                }
            }
        }
        Ok(found)
    }
}
