//! Pages of many devices at once.
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
    model::{CommandRecord, Page, Part, PresenceChange, Reading},
    store::Store,
};

/// What a device has pages of.
pub trait Kept: Clone + Eq + Hash + Send + Sync + 'static {
    type Item: Clone + Send + Sync + 'static;

    /// The place of an item, for cursors.
    fn place(item: &Self::Item) -> i64;

    /// The same part of each of some devices. Those that have nothing are absent.
    fn of_each(
        store: &Store,
        devices: &[&str],
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

impl Kept for Readings {
    type Item = Reading;

    fn place(reading: &Reading) -> i64 {
        reading.seq.0
    }

    async fn of_each(
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
        store: &Store,
        devices: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<CommandRecord>>, Error> {
        store.commands_of_each(devices, part).await
    }
}

/// Reads pages, and keeps none.
pub struct Pages(Store);

pub fn loader(store: Store) -> DataLoader<Pages> {
    DataLoader::new(Pages(store), tokio::spawn)
}

/// The page of a device, read together with those of the others.
pub async fn page<K: Kept>(
    context: &Context<'_>,
    kept: K,
    device: &str,
    part: Part,
) -> Result<Page<K::Item>, Problem> {
    let loader = context.data_unchecked::<DataLoader<Pages>>();
    let page = loader.load_one(PageOf { kept, device: device.to_owned(), part }).await?;
    Ok(page.unwrap_or(Page { items: Vec::new(), next: None }))
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct PageOf<K> {
    kept: K,
    device: String,
    part: Part,
}

impl<K: Kept> Loader<PageOf<K>> for Pages {
    type Value = Page<K::Item>;
    type Error = Problem;

    async fn load(&self, asked: &[PageOf<K>]) -> Result<HashMap<PageOf<K>, Page<K::Item>>, Problem> {
        let mut parts = HashMap::<Part, Vec<&PageOf<K>>>::new();
        for page in asked {
            parts.entry(page.part).or_default().push(page);
        }
        let mut found = HashMap::new();
        for (part, asked) in parts {
            let devices: Vec<&str> = asked.iter().map(|page| page.device.as_str()).collect();
            let mut pages = K::of_each(&self.0, &devices, part).await?;
            for page in asked {
                if let Some(read) = pages.remove(&page.device) {
                    found.insert(page.clone(), read);
                }
            }
        }
        Ok(found)
    }
}
